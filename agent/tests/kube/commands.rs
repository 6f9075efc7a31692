//! Every kind of command, carried out by the agent's own program on the real API server; and the rights that this takes.
use crate::cluster::{Admin, DATABASES, SYSTEM, until};
use crate::database::Database;
use crate::process::Agent;
use crate::relay::Kiven;
use crate::rights::{self, Audit};
use crate::{installed, operator};
use jiff::{SignedDuration, Timestamp};
use kiven_data_services::DataService;
use kiven_data_services::cnpg::{Cnpg, HIBERNATION, PLUGIN};
use kiven_model::Code;
use kiven_model::command::{Command, CommandBody, CommandOutcome, CommandOutput};
use kiven_model::database::Power;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams};
use serde_json::json;
use std::collections::BTreeSet;

const CNPG: &str = "postgresql.cnpg.io/v1";
const DONE: CommandOutcome = CommandOutcome::Done(CommandOutput::Nothing);
/// How long a grace lasts here.
const GRACE: SignedDuration = SignedDuration::from_secs(3);
/// Longest removal, its grace with it.
const REMOVAL_MAX: SignedDuration = SignedDuration::from_secs(60);

/// One agent and all that it needs.
struct Scene {
    admin: Admin,
    kiven: Kiven,
    agent: Agent,
    audit: Option<Audit>,
    given: BTreeSet<rights::Right>,
}

impl Scene {
    async fn open() -> Self {
        let admin = Admin::connect().await;
        let kiven = Kiven::start(&admin, "").await;
        let values = installed::values(&kiven);
        installed::install(&values);
        operator::install(&admin).await;
        let given = rights::given(&installed::rendered(&values));
        let audit = Audit::begin();
        let agent = Agent::start(&admin, &kiven, &[]).await;
        Self { admin, kiven, agent, audit, given }
    }

    fn clusters(&self) -> Api<DynamicObject> {
        self.admin.of(DATABASES, CNPG, "Cluster")
    }

    async fn done(&self, command: Command) {
        let outcome = self.kiven.ask(&command).await;
        assert_eq!(outcome, DONE, "{}", command.id);
    }

    /// Asks again, under new ids, until it is done; what goes with the Cluster goes meanwhile.
    async fn remove(&self, database: &Database, step: &str, fence: u64, body: &CommandBody) {
        let deadline = Timestamp::now() + REMOVAL_MAX;
        for round in 0u32.. {
            assert!(Timestamp::now() < deadline, "{step} did not come to its end");
            let command = Command { fence, ..database.command(&format!("{step}-{round}"), body.clone()) };
            match self.kiven.ask(&command).await {
                CommandOutcome::Done(_) => return,
                CommandOutcome::Retry(_) => operator::clean(&self.admin, &database.cluster).await,
                CommandOutcome::Refused(problem) => panic!("{step} was refused: {problem}"),
            }
        }
    }

    /// Secrets and every object, applied twice.
    async fn provision(&self, database: &Database) {
        let CommandOutcome::Done(CommandOutput::Certificates(certificates)) = self.kiven.ask(&database.secrets()).await else {
            panic!("no certificates");
        };
        assert!(certificates.values().all(|pem| pem.starts_with("-----BEGIN CERTIFICATE-----")) && certificates.len() == 1);
        for (step, objects) in database.objects() {
            self.done(database.apply(step, objects)).await;
        }
        let before = self.clusters().get(&database.cluster).await.unwrap();
        for (step, objects) in database.objects() {
            self.done(database.apply(&format!("{step}-again"), objects)).await;
        }
        let after = self.clusters().get(&database.cluster).await.unwrap();
        assert_eq!((before.uid(), before.resource_version()), (after.uid(), after.resource_version()), "applying again changes nothing");
    }
}

#[tokio::test]
async fn every_command_works_and_the_rights_used_are_those_given() {
    let mut scene = Scene::open().await;
    let shop = Database::new(&scene.kiven.environment, "shop", 1);
    facts(&scene).await;
    scene.provision(&shop).await;
    operator::run(&scene.admin, &shop).await;
    observed(&scene, &shop).await;
    refused(&scene, &shop).await;
    scene.done(shop.command("hand-over", CommandBody::HandOver { cluster: shop.cluster.clone() })).await;
    maintained(&scene, &shop).await;
    backed_up(&scene, &shop).await;
    hibernates_after_backups(&scene, &shop).await;
    restarted(&mut scene, &shop).await;
    retired_and_purged(&scene, &shop).await;
    discarded(&scene).await;
    released(&mut scene).await;
    if let Some(audit) = &scene.audit {
        rights::equal(&scene.given, &audit.used());
    } else {
        println!("\nskipped: rights used beside rights given: the API server's audit log is not here");
    }
    installed::uninstall(&scene.admin).await;
}

async fn facts(scene: &Scene) {
    operator::leave_volume(&scene.admin, "pv-loose").await;
    let inspect = Command { database_id: None, ..Database::new(&scene.kiven.environment, "none", 9).command("inspect", CommandBody::Inspect) };
    let CommandOutcome::Done(CommandOutput::Facts(facts)) = scene.kiven.ask(&inspect).await else { panic!("no facts") };
    let server = scene.admin.client.apiserver_version().await.unwrap().git_version;
    println!("API server {server}");
    assert_eq!((facts.kubernetes_version, facts.operator_version.as_deref()), (server, Some(operator::VERSION)));
    assert!(facts.storage_class && facts.postgres_versions == [18, 17], "{:?}", facts.postgres_versions);
    assert_eq!(facts.loose_volumes.iter().map(|loose| loose.volume.as_str()).collect::<Vec<_>>(), ["pv-loose"]);
}

/// What the operator says of a Cluster arrives as an observation.
async fn observed(scene: &Scene, shop: &Database) {
    let seen = scene
        .kiven
        .heard("a healthy database", |talk| talk.observed.get(&shop.cluster).filter(|seen| seen.healthy() && seen.volumes.len() == 2).cloned())
        .await;
    assert_eq!(seen.primary_zone.as_deref(), Some("eu-west-1a"));
    assert_eq!(seen.certificate_ends_at.map(|at| at.to_string()).as_deref(), Some("2030-06-27T10:00:00Z"));
    let runbook = until("the runbook names the database", async || {
        let page = scene.admin.of(SYSTEM, "v1", "ConfigMap").get_opt("kiven-runbook").await.unwrap()?.data["data"]["runbook.md"].as_str()?.to_owned();
        page.contains("shop").then_some(page)
    })
    .await;
    assert!(runbook.contains("kubectl"));
}

/// Guardrails and the API server's own validation, told apart by their codes.
async fn refused(scene: &Scene, shop: &Database) {
    let mut fewer = shop.objects()[1].1.clone();
    fewer.iter_mut().filter(|object| object["kind"] == "Cluster").for_each(|cluster| cluster["spec"]["instances"] = json!(1));
    let mut odd = shop.objects()[1].1.clone();
    odd.iter_mut().filter(|object| object["kind"] == "Cluster").for_each(|cluster| cluster["spec"]["stopDelay"] = json!("many"));
    for (step, objects, code) in [("fewer", fewer, Code::AGENT_REFUSED), ("odd", odd, Code::AGENT_FAILED)] {
        match scene.kiven.ask(&shop.apply(step, objects)).await {
            CommandOutcome::Refused(problem) => assert_eq!(problem.code, code, "{step}: {problem}"),
            other => panic!("{step}: {other:?}"),
        }
    }
}

/// Another primary and another certificate.
async fn maintained(scene: &Scene, shop: &Database) {
    let cluster = shop.cluster.clone();
    let away = CommandBody::Switchover { cluster: cluster.clone(), away_from_zone: "eu-west-1a".to_owned() };
    scene.done(shop.command("switchover", away)).await;
    let status = scene.clusters().get(&cluster).await.unwrap().data["status"].clone();
    assert_eq!(status["targetPrimary"], format!("{cluster}-2"));
    let first = operator::issue_certificate(&scene.admin, &cluster).await;
    let read = shop.command("read-certificate", CommandBody::ReadCertificate { cluster: cluster.clone() });
    match scene.kiven.ask(&read).await {
        CommandOutcome::Done(CommandOutput::Certificate { uid, ends_at: Some(_) }) => assert_eq!(uid, first),
        other => panic!("{other:?}"),
    }
    let renew = CommandBody::RenewCertificate { cluster: cluster.clone(), replaces: first.clone() };
    later(scene, shop, "renew-1", renew.clone(), "has not issued a new certificate").await;
    let second = operator::issue_certificate(&scene.admin, &cluster).await;
    assert_ne!(first, second, "the agent removed the old one");
    later(scene, shop, "renew-2", renew, "PostgreSQL could not be asked").await;
    // Without PostgreSQL these come as far as its door.
    later(scene, shop, "archive", CommandBody::ArchiveWal { cluster: cluster.clone() }, "PostgreSQL did not answer").await;
    later(scene, shop, "verify", CommandBody::VerifyRevision { cluster, revision: "r".to_owned() }, "PostgreSQL could not be asked").await;
}

async fn later(scene: &Scene, shop: &Database, step: &str, body: CommandBody, why: &str) {
    match scene.kiven.ask(&shop.command(step, body)).await {
        CommandOutcome::Retry(problem) => assert!(problem.to_string().contains(why), "{step}: {problem}"),
        other => panic!("{step}: {other:?}"),
    }
}

async fn backed_up(scene: &Scene, shop: &Database) {
    for (suffix, phase, code) in [("manual", "completed", None), ("broken", "failed", Some(Code::BACKUP_FAILED))] {
        let name = format!("{}-{suffix}", shop.cluster);
        let command = shop.command(suffix, CommandBody::TakeBackup { cluster: shop.cluster.clone(), name: name.clone() });
        let (outcome, ()) = tokio::join!(scene.kiven.ask(&command), operator::back_up(&scene.admin, &name, phase));
        match (outcome, code) {
            (outcome, None) => assert_eq!(outcome, DONE),
            (CommandOutcome::Refused(problem), Some(code)) => assert_eq!(problem.code, code),
            (other, Some(_)) => panic!("{other:?}"),
        }
    }
}

/// While a backup runs nothing is hibernated, whatever was seen before.
async fn hibernates_after_backups(scene: &Scene, shop: &Database) {
    let (cluster, name) = (shop.cluster.clone(), format!("{}-late", shop.cluster));
    scene
        .admin
        .create(json!({ "apiVersion": CNPG, "kind": "Backup", "metadata": { "name": name, "namespace": DATABASES },
            "spec": { "cluster": { "name": cluster }, "method": "plugin", "pluginConfiguration": { "name": PLUGIN } } }))
        .await;
    let off = || Cnpg.cluster(&shop.generation, Power::Off);
    later(scene, shop, "await-backups", CommandBody::AwaitBackups { cluster: cluster.clone() }, "is pending").await;
    later(scene, shop, "off", CommandBody::Apply { objects: off(), consent: None }, "is pending").await;
    operator::back_up(&scene.admin, &name, "completed").await;
    scene.done(shop.command("await-backups-again", CommandBody::AwaitBackups { cluster })).await;
    // Nobody owns it: nothing else would take it away.
    scene.admin.of(DATABASES, CNPG, "Backup").delete(&name, &DeleteParams::default()).await.unwrap();
}

/// Killed and started again, the agent gives the old answers, and refuses what is older than what it has seen.
async fn restarted(scene: &mut Scene, shop: &Database) {
    let before = shop.command("hand-over", CommandBody::HandOver { cluster: shop.cluster.clone() });
    let version = async || scene.clusters().get(&shop.cluster).await.unwrap().resource_version();
    let unchanged = version().await;
    let mut newer = shop.apply("newer", Vec::new());
    newer.fence = 2;
    scene.done(newer).await;
    let agent = Agent::start(&scene.admin, &scene.kiven, &[]).await;
    std::mem::replace(&mut scene.agent, agent).kill();
    scene.kiven.heard("another session", |talk| (talk.sessions >= 2).then_some(())).await;
    scene.done(before).await;
    assert_eq!(scene.clusters().get(&shop.cluster).await.unwrap().resource_version(), unchanged, "an old answer has no effect");
    match scene.kiven.ask(&shop.apply("older", Vec::new())).await {
        CommandOutcome::Refused(problem) => assert!(problem.to_string().contains("older operation"), "{problem}"),
        other => panic!("{other:?}"),
    }
}

/// Into the grace, back, into it again, and out of it.
async fn retired_and_purged(scene: &Scene, shop: &Database) {
    let newest = |step: &str, body: CommandBody| Command { fence: 2, ..shop.command(step, body) };
    let cluster = shop.cluster.clone();
    let services = vec![shop.generation.spec.name.read_write_service(), shop.generation.spec.name.read_only_service()];
    let retire = |delete_after| CommandBody::Retire { cluster: cluster.clone(), services: services.clone(), delete_after, consent: shop.consent() };
    let marks = async || {
        let all = scene.admin.all("v1", "PersistentVolume").list(&ListParams::default()).await.unwrap().items;
        all.iter().filter(|volume| volume.annotations().contains_key("kiven.io/delete-after")).count()
    };
    scene.done(newest("retire", retire(Timestamp::now() + SignedDuration::from_hours(1)))).await;
    assert_eq!(marks().await, 2);
    let left = scene.admin.names(DATABASES, "v1", "Service").await;
    assert!(services.iter().all(|service| !left.contains(service)), "names are free at once: {left:?}");
    assert_eq!(scene.clusters().get(&cluster).await.unwrap().annotations()[HIBERNATION], "on");
    operator::hibernate(&scene.admin, &cluster).await;
    scene.kiven.heard("a hibernated database", |talk| talk.observed.get(&cluster).filter(|seen| seen.hibernated && seen.pods == 0).map(drop)).await;
    scene.done(newest("unretire", CommandBody::Unretire { cluster: cluster.clone() })).await;
    assert_eq!(marks().await, 0);
    scene.done(newest("retire-again", retire(Timestamp::now() + GRACE))).await;
    let purge = CommandBody::Purge { cluster: cluster.clone(), consent: shop.consent() };
    match scene.kiven.ask(&newest("early", purge.clone())).await {
        CommandOutcome::Retry(problem) => assert!(problem.to_string().contains("grace lasts"), "{problem}"),
        other => panic!("{other:?}"),
    }
    scene.remove(shop, "purge", 2, &purge).await;
    for (api_version, kind) in [(CNPG, "Cluster"), (CNPG, "Pooler"), (CNPG, "ScheduledBackup"), (CNPG, "Backup"), (CNPG, "Database")] {
        assert_eq!(scene.admin.names(DATABASES, api_version, kind).await, Vec::<String>::new(), "{kind}");
    }
    let volumes = scene.admin.all("v1", "PersistentVolume").list(&ListParams::default()).await.unwrap().items;
    assert_eq!(volumes.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["pv-loose"]);
}

/// What was never handed over goes at once.
async fn discarded(scene: &Scene) {
    let draft = Database::new(&scene.kiven.environment, "draft", 3);
    scene.provision(&draft).await;
    scene.remove(&draft, "discard", 1, &CommandBody::Discard { cluster: draft.cluster.clone() }).await;
    assert_eq!(scene.admin.names(DATABASES, "barmancloud.cnpg.io/v1", "ObjectStore").await, Vec::<String>::new());
    let left = scene.admin.names(DATABASES, "v1", "Secret").await;
    assert!(!left.iter().any(|name| name.starts_with("draft-")), "{left:?}");
}

/// Let go, the agent ends; started again it does nothing.
async fn released(scene: &mut Scene) {
    let release = Command { database_id: None, ..Database::new(&scene.kiven.environment, "none", 9).command("release", CommandBody::Release) };
    assert_eq!(scene.kiven.ask(&release).await, DONE);
    let ended = until("the agent ends", async || scene.agent.ended_well()).await;
    assert!(ended);
    scene.agent = Agent::start(&scene.admin, &scene.kiven, &[]).await;
    until("it says that it was released", async || scene.agent.log().contains("this cluster was released").then_some(())).await;
}
