//! `kiven agent manifest`: the objects of the agent's chart, without Helm. There is one source, the chart's own templates.
mod template;

use crate::fail::Fail;
use kiven_model::EnvironmentId;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use template::{Known, render};

/// What the chart's `Chart.yaml` says; held by a test.
const APP_VERSION: &str = "0.1.0";
/// The release's name, where Helm would ask for one.
const RELEASE: &str = "kiven-agent";

macro_rules! templates {
    ($($name:literal)*) => { [$(($name, include_str!(concat!("../../../agent/chart/templates/", $name)))),*] };
}

/// The chart's templates, in the order in which objects need each other.
const TEMPLATES: [(&str, &str); 14] = templates! {
    "namespace.yaml" "service-account.yaml" "storage-class.yaml" "rights-cluster.yaml" "rights-databases.yaml" "rights-system.yaml"
    "rights-operator.yaml" "operator-policy.yaml" "network-policy.yaml" "agent-token.yaml" "image-catalog.yaml" "installer.yaml" "preflight.yaml" "deployment.yaml"
};

/// The chart's values, as far as they are not the same everywhere.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Values {
    /// The environment's id: `agent_values.environmentId`.
    #[arg(long, value_parser = environment_id)]
    environment_id: String,
    /// `agent_values.relayAddress`: host:port.
    #[arg(long, value_parser = host_and_port)]
    relay_address: String,
    /// `agent_values.apiUrl`.
    #[arg(long)]
    api_url: String,
    /// Named in the runbook that the agent keeps.
    #[arg(long, default_value = "")]
    eks_cluster_name: String,
    /// Named in the runbook that the agent keeps.
    #[arg(long, default_value = "")]
    aws_region: String,
    /// What the agent proves itself with: `issuer` or `token`.
    #[arg(long, default_value = "issuer", value_parser = ["issuer", "token"])]
    agent_enrolment: String,
    /// The Secret in kiven-system with the first single-use token under the key `token`; make it yourself.
    #[arg(long, default_value = "kiven-agent-first-token")]
    agent_token_secret: String,
    /// How often the agent asks each instance for its statistics, in seconds; never with 0.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=3600))]
    statistics_seconds: u32,
    /// The proxy on the way to the relay and the API: http://host:port.
    #[arg(long, default_value = "", value_parser = proxy)]
    proxy_url: String,
    /// Hosts and domains that are reached without the proxy, with commas between.
    #[arg(long, default_value = "")]
    no_proxy: String,
    /// The Secret with the proxy's `username` and `password`.
    #[arg(long, default_value = "")]
    proxy_secret: String,
    /// The ConfigMap whose `ca.crt` is trusted for the relay and the API too.
    #[arg(long, default_value = "")]
    private_ca_config_map: String,
    /// An Ed25519 public key of yours, as it stands between the lines of a PEM file: only readers whose key one of them has signed
    /// see what PostgreSQL logs.
    #[arg(long = "trusted-reader", value_name = "KEY", value_parser = trusted_reader)]
    trusted_readers: Vec<String>,
    /// The agent's image, without tag.
    #[arg(long, default_value = "ghcr.io/kiven/agent")]
    image: String,
    /// Its tag.
    #[arg(long, default_value = APP_VERSION)]
    image_tag: String,
    /// Its digest, `sha256:…`; takes precedence over the tag.
    #[arg(long, default_value = "")]
    image_digest: String,
    /// When it is pulled.
    #[arg(long, default_value = "IfNotPresent", value_parser = ["Always", "IfNotPresent", "Never"])]
    image_pull_policy: String,
    /// Secrets that open its registry.
    #[arg(long = "image-pull-secret", value_name = "NAME")]
    image_pull_secrets: Vec<String>,
    /// PostgreSQL images, each as MAJOR=IMAGE, instead of those of the chart.
    #[arg(long = "postgresql-image", value_name = "MAJOR=IMAGE", value_parser = major_and_image,
        default_values = ["17=ghcr.io/cloudnative-pg/postgresql:17-system-trixie", "18=ghcr.io/cloudnative-pg/postgresql:18-system-trixie"])]
    postgresql_images: Vec<(u32, String)>,
    /// The KMS key of volumes; the account's default EBS key when empty.
    #[arg(long, default_value = "")]
    kms_key_id: String,
    /// Operator, plugin and the plugin's TLS Secrets are brought to kiven-system by yourself.
    #[arg(long)]
    no_installer: bool,
    /// A web server of your own that holds the operator's manifests; their origin when empty.
    #[arg(long, default_value = "")]
    installer_mirror: String,
    /// A registry that holds the operator's images under the same repositories; ghcr.io when empty.
    #[arg(long, default_value = "")]
    installer_registry: String,
    /// An environment variable of installer and preflight: HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE.
    #[arg(long = "installer-env", value_name = "NAME=VALUE", value_parser = name_and_value)]
    installer_env: Vec<(String, String)>,
    /// How long operator and plugin may take to be ready.
    #[arg(long, default_value_t = 240)]
    installer_wait_seconds: u32,
    /// The cluster is not looked at.
    #[arg(long)]
    no_preflight: bool,
    /// The namespace of an operator that you run yourself and that Kiven is to use.
    #[arg(long, default_value = "")]
    operator_namespace: String,
    /// The StorageClass kiven-gp3 is managed elsewhere.
    #[arg(long)]
    no_storage_class: bool,
    /// The namespace kiven-databases is managed elsewhere.
    #[arg(long)]
    no_database_namespace: bool,
    /// The agent's NetworkPolicy is managed elsewhere.
    #[arg(long)]
    no_network_policy: bool,
}

fn environment_id(text: &str) -> Result<String, String> {
    EnvironmentId::parse(text).map(|id| id.to_string()).map_err(|error| error.to_string())
}

fn host_and_port(text: &str) -> Result<String, String> {
    let good = text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok());
    if good { Ok(text.to_owned()) } else { Err("it is host:port".to_owned()) }
}

fn proxy(text: &str) -> Result<String, String> {
    match text.strip_prefix("http://").map(host_and_port) {
        Some(Ok(_)) if !text.contains('@') => Ok(text.to_owned()),
        _ if text.is_empty() => Ok(String::new()),
        _ => Err("it is http://host:port; credentials go into a Secret (--proxy-secret)".to_owned()),
    }
}

fn trusted_reader(text: &str) -> Result<String, String> {
    kiven_seal::TrustedKey::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn major_and_image(text: &str) -> Result<(u32, String), String> {
    let parsed = text.split_once('=').and_then(|(major, image)| Some((major.parse().ok()?, image.to_owned())));
    parsed.filter(|(_, image)| !image.is_empty()).ok_or_else(|| "it is MAJOR=IMAGE".to_owned())
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let parsed = text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    parsed.filter(|(name, _)| !name.is_empty()).ok_or_else(|| "it is NAME=VALUE".to_owned())
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn port_of(address: &str) -> String {
    address.rsplit(':').next().unwrap_or_default().to_owned()
}

/// The port that a URL names, or its scheme's.
fn port_of_url(url: &str) -> String {
    match url.rsplit_once(':') {
        Some((_, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => port.to_owned(),
        _ if url.starts_with("https://") => "443".to_owned(),
        _ => "80".to_owned(),
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

impl Values {
    /// `kiven.image`.
    fn whole_image(&self) -> String {
        let Self { image, image_tag, image_digest, .. } = self;
        if image_digest.is_empty() { format!("{image}:{image_tag}") } else { format!("{image}@{image_digest}") }
    }

    fn pull_secrets(&self) -> String {
        json!(self.image_pull_secrets.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>()).to_string()
    }

    /// `kiven.installer.pod`.
    fn hook_pod(&self) -> Vec<String> {
        let secrets = self.pull_secrets();
        lines(&format!(
            "restartPolicy: Never\nimagePullSecrets: {secrets}\nsecurityContext:\n  runAsNonRoot: true\n  runAsUser: 65532\n  runAsGroup: 65532\n  \
             seccompProfile:\n    type: RuntimeDefault"
        ))
    }

    /// `kiven.installer.container`.
    fn hook_container(&self) -> Vec<String> {
        let (image, policy) = (quoted(&self.whole_image()), &self.image_pull_policy);
        lines(&format!(
            "image: {image}\nimagePullPolicy: {policy}\nterminationMessagePolicy: FallbackToLogsOnError\nsecurityContext:\n  \
             allowPrivilegeEscalation: false\n  readOnlyRootFilesystem: true\n  capabilities:\n    drop: [\"ALL\"]\nresources:\n  \
             requests: {{ cpu: 50m, memory: 64Mi }}\n  limits: {{ memory: 128Mi }}"
        ))
    }

    fn images_by_major(&self) -> String {
        json!(self.postgresql_images.iter().map(|(major, image)| (major.to_string(), image)).collect::<BTreeMap<_, _>>()).to_string()
    }
}

/// The annotations of a hook.
fn hook(when: &str) -> Vec<String> {
    lines(&format!("helm.sh/hook: {when}\nhelm.sh/hook-delete-policy: before-hook-creation,hook-succeeded"))
}

/// What each expression of the templates comes to. A new one in a template is added here; until it is, a test fails.
impl Known for Values {
    fn value(&self, expression: &str) -> Option<String> {
        Some(match expression {
            r#"include "kiven.namespace" ."# => "kiven-system".to_owned(),
            r#"include "kiven.image" . | quote"# => quoted(&self.whole_image()),
            r#"include "kiven.installer.pullSecrets" . | quote"# => quoted(&self.image_pull_secrets.join(",")),
            ".Values.postgresql.images | toJson | quote" => quoted(&self.images_by_major()),
            ".Values.installer.mirror | quote" => quoted(&self.installer_mirror),
            ".Values.installer.registry | quote" => quoted(&self.installer_registry),
            ".Values.installer.waitSeconds | quote" => quoted(&self.installer_wait_seconds.to_string()),
            ".Values.operatorNamespace | quote" => quoted(&self.operator_namespace),
            r#"include "kiven.relayPort" ."# => port_of(&self.relay_address),
            r#"include "kiven.apiPort" ."# => port_of_url(&self.api_url),
            r#"include "kiven.proxyPort" ."# => port_of(&self.proxy_url),
            ".Values.image.pullPolicy" => self.image_pull_policy.clone(),
            ".Values.imagePullSecrets | toJson" => self.pull_secrets(),
            ".Values.resources | toJson" => json!({ "limits": { "memory": "48Mi" }, "requests": { "cpu": "10m", "memory": "24Mi" } }).to_string(),
            ".Values.environmentId | quote" => quoted(&self.environment_id),
            ".Values.relayAddress | quote" => quoted(&self.relay_address),
            ".Values.apiUrl | quote" => quoted(&self.api_url),
            ".Values.eksClusterName | quote" => quoted(&self.eks_cluster_name),
            ".Values.awsRegion | quote" => quoted(&self.aws_region),
            ".Values.statisticsSeconds | quote" => quoted(&self.statistics_seconds.to_string()),
            ".Values.proxyUrl | quote" => quoted(&self.proxy_url),
            ".Values.noProxy | quote" => quoted(&self.no_proxy),
            ".Values.proxySecret | quote" => quoted(&self.proxy_secret),
            ".Values.privateCaConfigMap | quote" => quoted(&self.private_ca_config_map),
            r#"join "," .Values.trustedReaders | quote"# => quoted(&self.trusted_readers.join(",")),
            ".Values.agentTokenSecret | quote" => quoted(&self.agent_token_secret),
            // A token is never typed on a command line: whoever has one makes its Secret.
            ".Values.agentToken | quote" => quoted(""),
            ".Values.storageClass.kmsKeyId | quote" => quoted(&self.kms_key_id),
            _ => return None,
        })
    }

    fn lines(&self, expression: &str) -> Option<Vec<String>> {
        Some(match expression {
            r#"include "kiven.labels" ."# => vec![
                "app.kubernetes.io/name: kiven-agent".to_owned(),
                format!("app.kubernetes.io/instance: {RELEASE}"),
                format!("app.kubernetes.io/version: {}", quoted(APP_VERSION)),
            ],
            r#"include "kiven.installer.pod" ."# => self.hook_pod(),
            r#"include "kiven.installer.container" ."# => self.hook_container(),
            r#"include "kiven.installer.hook" ."# => hook("pre-install,pre-upgrade"),
            r#"include "kiven.after.hook" ."# => hook("post-install,post-upgrade"),
            "toYaml .Values.installer.env" => {
                let entry = |(name, value): &(String, String)| [format!("- name: {}", quoted(name)), format!("  value: {}", quoted(value))];
                self.installer_env.iter().flat_map(entry).collect()
            }
            r#"include "kiven.postgresqlImages" ."# => {
                let entry = |(major, image): &(u32, String)| [format!("- major: {major}"), format!("  image: {}", quoted(image))];
                self.postgresql_images.iter().flat_map(entry).collect()
            }
            _ => return None,
        })
    }

    fn holds(&self, condition: &str) -> Option<bool> {
        Some(match condition {
            r#"eq .Values.agentEnrolment "token""# => self.agent_enrolment == "token",
            ".Values.agentToken" => false,
            ".Values.proxyUrl" => !self.proxy_url.is_empty(),
            ".Values.proxySecret" => !self.proxy_secret.is_empty(),
            ".Values.trustedReaders" => !self.trusted_readers.is_empty(),
            ".Values.privateCaConfigMap" => !self.private_ca_config_map.is_empty(),
            ".Values.installer.enabled" => !self.no_installer,
            "not .Values.installer.enabled" => self.no_installer,
            "and .Values.installer.enabled (not .Values.operatorNamespace)" => !self.no_installer && self.operator_namespace.is_empty(),
            ".Values.installer.env" => !self.installer_env.is_empty(),
            ".Values.preflight.enabled" => !self.no_preflight,
            ".Values.operatorNamespace" => !self.operator_namespace.is_empty(),
            ".Values.networkPolicy.create" => !self.no_network_policy,
            ".Values.storageClass.create" => !self.no_storage_class,
            ".Values.storageClass.kmsKeyId" => !self.kms_key_id.is_empty(),
            ".Values.createDatabaseNamespace" => !self.no_database_namespace,
            _ => return None,
        })
    }
}

/// Every object, as documents of YAML.
pub(crate) fn text(values: &Values) -> Result<String, Fail> {
    let mut all = String::new();
    for (name, template) in TEMPLATES {
        let rendered = render(template, values)
            .map_err(|error| Fail::refused(format!("the chart's {name} cannot be printed: {error}"), "Install the chart with Helm instead."))?;
        for document in rendered.split("\n---\n").map(str::trim_end).filter(|document| has_content(document)) {
            all.push_str(&format!("---\n# Source: kiven-agent/templates/{name}\n{document}\n"));
        }
    }
    Ok(all)
}

/// Whether there is more than comments.
fn has_content(document: &str) -> bool {
    document.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#') && line.trim() != "---")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        values: Values,
    }

    fn values(more: &[&str]) -> Result<Values, clap::Error> {
        let needed =
            ["x", "--environment-id", "env_0123456789abcdefghjk", "--relay-address", "relay.example:443", "--api-url", "https://api.example"];
        Line::try_parse_from(needed.iter().chain(more)).map(|line| line.values)
    }

    #[test]
    fn every_template_is_here_and_every_expression_is_known() {
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/chart");
        let names = std::fs::read_dir(chart.join("templates")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let yaml: BTreeSet<String> = names.filter(|name| name.ends_with(".yaml")).collect();
        assert_eq!(yaml, TEMPLATES.map(|(name, _)| name.to_owned()).into(), "a template that `kiven agent manifest` leaves out");
        for (name, template) in TEMPLATES {
            assert_eq!(template::unknown(template, &values(&[]).unwrap()), Vec::<String>::new(), "{name}");
        }
        let about = std::fs::read_to_string(chart.join("Chart.yaml")).unwrap();
        assert!(about.contains(&format!("appVersion: {APP_VERSION}\n")));
    }

    #[test]
    fn what_cannot_work_is_refused_when_it_is_typed() {
        for wrong in
            [&["--proxy-url", "https://p:1"][..], &["--proxy-url", "http://u:p@p:1"], &["--postgresql-image", "17"], &["--agent-enrolment", "none"]]
        {
            assert!(values(wrong).is_err(), "{wrong:?}");
        }
        assert!(Line::try_parse_from(["x", "--environment-id", "shop", "--relay-address", "r:1", "--api-url", "u"]).is_err());
        assert!(Line::try_parse_from(["x", "--environment-id", "env_0123456789abcdefghjk", "--relay-address", "r", "--api-url", "u"]).is_err());
    }

    #[test]
    fn what_is_typed_stays_one_value() {
        let odd = "https://api.example\"\nkind: Pod";
        let line = ["x", "--environment-id", "env_0123456789abcdefghjk", "--relay-address", "r:1", "--api-url", odd];
        let text = text(&Line::try_parse_from(line).unwrap().values).unwrap();
        assert!(!text.contains("\nkind: Pod") && text.contains(r#"value: "https://api.example\"\nkind: Pod""#));
    }
}
