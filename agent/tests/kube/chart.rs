//! The chart as its customers use it: linted, rendered, installed, upgraded, uninstalled; its pods under the strictest standard.
use crate::cluster::{Admin, DATABASES, SYSTEM, chart, helm, until};
use crate::database::Database;
use crate::process::Agent;
use crate::relay::Kiven;
use crate::rights::{self, Audit};
use crate::{installed, operator};
use kiven_model::command::{Command, CommandBody, CommandOutcome, CommandOutput};
use kiven_model::operators::Component;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A first single-use token.
const TOKEN: &str = "kiven_agent_00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn with(values: &[String], more: &[&str]) -> Vec<String> {
    values.iter().cloned().chain(more.iter().map(|value| (*value).to_owned())).collect()
}

/// The object of a kind and a name.
fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("the chart has no {kind} {name}"))
}

#[tokio::test]
async fn it_is_linted_and_refuses_values_that_cannot_work() {
    let admin = Admin::connect().await;
    let kiven = Kiven::start(&admin, "").await;
    let values = installed::values(&kiven);
    for more in [&[][..], &["agentEnrolment=token"]] {
        let values = with(&values, more);
        installed::with_values(&["lint", "--strict"], &values).unwrap();
        assert!(installed::rendered(&values).len() > 10);
    }
    for (wrong, why) in [
        ("environmentId=shop", "environmentId"),
        ("relayAddress=https://relay", "relayAddress"),
        ("agentEnrolment=password", "agentEnrolment"),
        ("image.digest=latest", "digest"),
        ("replicas=2", "replicas"),
        ("proxyUrl=https://proxy:3128", "proxyUrl"),
        ("privateCa=none", "privateCa"),
    ] {
        let refused = installed::with_values(&["template", "kiven-agent"], &with(&values, &[wrong])).unwrap_err();
        assert!(refused.contains(why), "{wrong}: {refused}");
    }
    let elsewhere = helm(&["template", "kiven-agent", &chart().display().to_string(), "--namespace", "other"]).unwrap_err();
    assert!(elsewhere.contains("kiven-system") || elsewhere.contains("environmentId"), "{elsewhere}");
}

#[tokio::test]
async fn its_network_policy_lets_it_out_to_every_address_it_is_given() {
    let admin = Admin::connect().await;
    let kiven = Kiven::start(&admin, "").await;
    for (url, port) in [("https://api.example", 443), ("http://api.example", 80), ("https://api.example:8444", 8444)] {
        let mut values = with(&installed::values(&kiven), &["relayAddress=relay.example:8443", "proxyUrl=http://proxy.example:3128"]);
        values.push(format!("apiUrl={url}"));
        let objects = installed::rendered(&values);
        let ports = &find(&objects, "NetworkPolicy", "kiven-agent")["spec"]["egress"][1]["ports"];
        let ports: BTreeSet<u64> = ports.as_array().unwrap().iter().filter_map(|one| one["port"].as_u64()).collect();
        assert_eq!(ports, [443, 6443, 8443, 3128, port].into(), "{url}");
    }
}

#[tokio::test]
async fn an_upgrade_keeps_and_an_uninstall_leaves_what_is_the_customers() {
    let admin = Admin::connect().await;
    let kiven = Kiven::start(&admin, "").await;
    let values = installed::values(&kiven);
    installed::install(&values);
    let shop = Database::new(&kiven.environment, "shop", 1);
    for (_, objects) in shop.objects() {
        for object in objects {
            admin.create(object).await;
        }
    }
    let notes = installed::install(&with(&values, &["image.repository=registry.example/kiven/agent", "agentEnrolment=token"]));
    assert!(notes.contains("kiven-system") && notes.contains(kiven.environment.as_str()), "{notes}");
    let deployments = admin.of(SYSTEM, "apps/v1", "Deployment");
    let image = deployments.get("kiven-agent").await.unwrap().data["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    assert!(image.as_str().unwrap().starts_with("registry.example/kiven/agent"), "{image}");
    let _ = helm(&["uninstall", "kiven-agent", "--namespace", SYSTEM, "--wait"]).unwrap();
    until("the agent is gone", async || deployments.get_opt("kiven-agent").await.unwrap().is_none().then_some(())).await;
    assert_eq!(admin.names(DATABASES, "postgresql.cnpg.io/v1", "Cluster").await, [shop.cluster]);
    assert!(admin.all("v1", "Namespace").get_opt(DATABASES).await.unwrap().unwrap().metadata.deletion_timestamp.is_none());
    assert!(admin.all("storage.k8s.io/v1", "StorageClass").get_opt("kiven-gp3").await.unwrap().is_some());
    // Without the catalog the operator could not start an instance again.
    assert_eq!(admin.names(DATABASES, "postgresql.cnpg.io/v1", "ImageCatalog").await, ["kiven-postgresql"]);
    // What was kept is taken over by the next release.
    installed::install(&values);
    installed::uninstall(&admin).await;
}

#[tokio::test]
async fn its_pods_hold_the_restricted_standard() {
    let admin = Admin::connect().await;
    let kiven = Kiven::start(&admin, "").await;
    let name = "kiven-restricted";
    admin.namespace(name, json!({ "pod-security.kubernetes.io/enforce": "restricted" })).await;
    let accounts = admin.of(name, "v1", "ServiceAccount");
    if accounts.get_opt("kiven-agent").await.unwrap().is_none() {
        admin.create(json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "kiven-agent", "namespace": name } })).await;
    }
    let values = installed::values(&kiven);
    let everything = ["agentEnrolment=token", "proxyUrl=http://proxy.example:3128", "privateCaConfigMap=corporate"];
    for more in [&[][..], &everything] {
        let objects = installed::rendered(&with(&values, more));
        let template = &find(&objects, "Deployment", "kiven-agent")["spec"]["template"];
        let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "dry", "namespace": name }, "spec": template["spec"] });
        let pods = admin.of(name, "v1", "Pod");
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let parse = |pod: &Value| serde_json::from_value(pod.clone()).unwrap();
        pods.create(&dry, &parse(&pod)).await.expect("the agent's pod holds the standard");
        let container = &template["spec"]["containers"][0];
        assert_eq!(container["resources"]["requests"], json!({ "cpu": "10m", "memory": "24Mi" }));
        assert_eq!(container["resources"]["limits"], json!({ "memory": "48Mi" }));
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
        // The control: what the standard does not allow is refused here.
        pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
        assert!(pods.create(&dry, &parse(&pod)).await.unwrap_err().to_string().contains("PodSecurity"));
    }
    assert!(!installed::rendered(&values).iter().any(|object| object["kind"] == "PodDisruptionBudget"), "a drain must never wait for the agent");
    admin.remove(&admin.all("v1", "Namespace"), name).await;
}

#[tokio::test]
async fn with_single_use_tokens_it_needs_two_rights_more_and_uses_them() {
    let admin = Admin::connect().await;
    let kiven = Kiven::start(&admin, TOKEN).await;
    let plain = rights::given(&installed::rendered(&installed::values(&kiven)));
    let values = with(&installed::values(&kiven), &["agentEnrolment=token", &format!("agentToken={TOKEN}")]);
    let more: BTreeSet<rights::Right> = rights::given(&installed::rendered(&values)).difference(&plain).cloned().collect();
    installed::install(&values);
    operator::install(&admin).await;
    let first = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(first.path(), TOKEN).unwrap();
    let audit = Audit::begin();
    let path = first.path().display().to_string();
    let agent = Agent::start(&admin, &kiven, &[("KIVEN_AGENT_TOKEN_PATH", path.clone())]).await;
    kiven.heard("a session", |talk| (talk.sessions >= 1).then_some(())).await;
    agent.kill();
    // The first token is spent: the next process enrols with the one that was kept.
    std::fs::write(first.path(), "").unwrap();
    let _agent = Agent::start(&admin, &kiven, &[("KIVEN_AGENT_TOKEN_PATH", path)]).await;
    kiven.heard("a second enrolment", |talk| (talk.enrolments >= 2 && talk.sessions >= 2).then_some(())).await;
    let inspect = Command { database_id: None, ..Database::new(&kiven.environment, "none", 9).command("inspect", CommandBody::Inspect) };
    assert!(matches!(kiven.ask(&inspect).await, CommandOutcome::Done(CommandOutput::Facts(_))));
    // Another release of the chart leaves the tokens that the agent keeps.
    let kept = async || admin.of(SYSTEM, "v1", "Secret").get("kiven-agent-token").await.unwrap().data["data"]["token"].clone();
    let before = kept().await;
    installed::install(&values);
    assert!(before.is_string() && kept().await == before);
    if let Some(audit) = audit {
        rights::equal(&more, &audit.used().beyond(&plain));
    }
    installed::uninstall(&admin).await;
}

#[tokio::test]
async fn beside_an_operator_of_ones_own_it_needs_one_right_more_and_uses_it() {
    let admin = Admin::connect().await;
    let kiven = Kiven::start(&admin, "").await;
    let plain = rights::given(&installed::rendered(&installed::values(&kiven)));
    let elsewhere = "cnpg-of-ones-own";
    let values = with(&installed::values(&kiven), &[&format!("operatorNamespace={elsewhere}")]);
    let more: BTreeSet<rights::Right> = rights::given(&installed::rendered(&values)).difference(&plain).cloned().collect();
    admin.namespace(elsewhere, json!({})).await;
    installed::install(&values);
    let audit = Audit::begin();
    let agent = Agent::start(&admin, &kiven, &[("KIVEN_OPERATOR_NAMESPACE", elsewhere.to_owned())]).await;
    let inspect = Command { database_id: None, ..Database::new(&kiven.environment, "none", 9).command("inspect", CommandBody::Inspect) };
    assert!(matches!(kiven.ask(&inspect).await, CommandOutcome::Done(CommandOutput::Facts(_))));
    drop(agent);
    if let Some(audit) = audit {
        rights::equal(&more, &audit.used().beyond(&plain));
    }
    installed::uninstall(&admin).await;
    admin.remove(&admin.all("v1", "Namespace"), elsewhere).await;
}

/// Operator and plugin are asked to move: the one does, the other runs nobody knows what.
async fn moved(admin: &Admin, kiven: &Kiven) {
    let ask = async |step: &str, component, version: &str| {
        let body = CommandBody::MoveComponent { component, version: version.to_owned() };
        kiven.ask(&Command { database_id: None, ..Database::new(&kiven.environment, "none", 9).command(step, body) }).await
    };
    let operator = ask("move-operator", Component::Operator, "1.29.2").await;
    assert!(matches!(operator, CommandOutcome::Retry(_)), "{operator:?}");
    let deployment = admin.of(SYSTEM, "apps/v1", "Deployment").get("cnpg-controller-manager").await.unwrap();
    let image = deployment.data["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default().to_owned();
    assert!(image.contains(":1.29.2@sha256:"), "{image}");
    let plugin = ask("move-plugin", Component::Plugin, "0.14.0").await;
    assert!(matches!(plugin, CommandOutcome::Refused(_)), "{plugin:?}");
}

#[tokio::test]
async fn where_it_keeps_the_plugins_certificates_it_has_rights_to_them_and_no_others() {
    let admin = Admin::connect().await;
    let kiven = Kiven::start(&admin, "").await;
    let plain = rights::given(&installed::rendered(&installed::values(&kiven)));
    let values = with(&installed::values(&kiven), &["installer.enabled=true"]);
    let more: BTreeSet<rights::Right> = rights::given(&installed::rendered(&values)).difference(&plain).cloned().collect();
    installed::with_values(&["upgrade", "--install", "kiven-agent", "--create-namespace", "--no-hooks"], &values).unwrap();
    let labels = json!({ "app": "barman-cloud" });
    let template = json!({ "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "plugin", "image": "plugin" }] } });
    let plugin = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "barman-cloud", "namespace": SYSTEM },
        "spec": { "replicas": 0, "selector": { "matchLabels": labels }, "template": template },
    });
    let deployments = admin.of(SYSTEM, "apps/v1", "Deployment");
    let secrets = admin.of(SYSTEM, "v1", "Secret");
    let apply = PatchParams::apply("kiven-tests").force();
    deployments.patch("barman-cloud", &apply, &Patch::Apply(plugin)).await.unwrap();
    let kept = ["kiven-plugin-authority", "barman-cloud-server-tls", "barman-cloud-client-tls"];
    for name in kept {
        // What cannot be read is as good as expired.
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": { "name": name, "namespace": SYSTEM, "labels": { "app.kubernetes.io/managed-by": "kiven-agent" } },
            "stringData": { "tls.crt": "old", "tls.key": "old" } });
        secrets.patch(name, &apply, &Patch::Apply(secret)).await.unwrap();
    }
    operator::install_version(&admin, "1.29.1").await;
    let settings = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "cnpg-controller-manager-config", "namespace": SYSTEM },
        "data": { "ENABLE_INSTANCE_MANAGER_INPLACE_UPDATES": "true", "CLUSTERS_ROLLOUT_DELAY": "60" } });
    admin.of(SYSTEM, "v1", "ConfigMap").patch("cnpg-controller-manager-config", &apply, &Patch::Apply(settings)).await.unwrap();
    let audit = Audit::begin();
    let agent = Agent::start(&admin, &kiven, &[("KIVEN_PLUGIN_TLS", "true".to_owned())]).await;
    until("the plugin reads its certificates again", async || {
        let annotations = deployments.get("barman-cloud").await.unwrap().data["spec"]["template"]["metadata"]["annotations"].clone();
        annotations["kiven.io/certificates-of"].is_string().then_some(())
    })
    .await;
    moved(&admin, &kiven).await;
    agent.kill();
    for name in kept {
        let certificate = secrets.get(name).await.unwrap().data["data"]["tls.crt"].clone();
        assert_ne!(certificate, json!("b2xk"), "{name} is not renewed");
    }
    if let Some(audit) = audit {
        rights::equal(&more, &audit.used().beyond(&plain));
    }
    admin.remove(&deployments, "barman-cloud").await;
    installed::uninstall(&admin).await;
}
