//! The table of what a compromised control plane tries. A row's name stands on the page `docs/security/guardrails.md`.
use crate::hostile_tests::{EPOCH, customer, environment, generation, objects_of};
use jiff::{SignedDuration, Timestamp};
use kiven_data_services::DataService;
use kiven_data_services::cnpg::{Cnpg, DATABASE_LABEL};
use kiven_model::command::{Command, CommandBody, Consent, SecretContent, SecretRequest};
use kiven_model::database::Power;
use kiven_model::logs::{LogFilter, LogReading, statement};
use kiven_model::operators::Component;
use kiven_model::{Code, DatabaseId, EnvironmentId, LogSessionId, OperationId};
use serde_json::{Value, json};

/// How a row ends.
pub(crate) enum Verdict {
    /// With this code, and nothing changed.
    Refused(Code),
    /// The design lists it.
    Allowed,
}

/// One row.
pub(crate) struct Attack {
    /// As the page names it.
    pub(crate) name: &'static str,
    /// As it comes over the wire.
    pub(crate) command: kiven_proto::v1::Command,
    /// How it ends.
    pub(crate) verdict: Verdict,
}

/// The fence of everything that is current.
const FENCE: u64 = 100;

fn later() -> Timestamp {
    crate::now() + SignedDuration::from_hours(1)
}

fn model(name: &str, body: CommandBody) -> Command {
    let operation_id = OperationId::from_random([6; 16]);
    Command {
        id: format!("{operation_id}/{}", name.replace(' ', "-")),
        environment_id: environment(),
        operation_id,
        database_id: Some(DatabaseId::from_random([2; 16])),
        fence: FENCE,
        not_after: later(),
        body,
    }
}

fn wire(command: &Command) -> kiven_proto::v1::Command {
    kiven_proto::v1::Command { id: command.id.clone(), body: serde_json::to_vec(command).unwrap(), epoch: EPOCH }
}

fn attack(name: &'static str, body: CommandBody) -> Attack {
    Attack { name, command: wire(&model(name, body)), verdict: Verdict::Refused(Code::AGENT_REFUSED) }
}

/// The same, with the command changed.
fn changed(name: &'static str, body: CommandBody, change: impl FnOnce(&mut Command)) -> Attack {
    let mut command = model(name, body);
    change(&mut command);
    Attack { command: wire(&command), ..attack(name, CommandBody::Inspect) }
}

fn apply(objects: Vec<Value>) -> CommandBody {
    CommandBody::Apply { objects, consent: None }
}

/// The Cluster of a database of which only a volume is left.
fn lost_cluster() -> Vec<Value> {
    objects_of(&generation(9, "lost")).into_iter().filter(|object| object["kind"] == "Cluster").collect()
}

/// One of the running database's objects, otherwise.
fn object(name: &'static str, kind: &str, change: impl FnOnce(&mut Value)) -> Attack {
    let mut object = objects_of(&generation(2, "shop")).into_iter().find(|object| object["kind"] == kind).unwrap();
    change(&mut object);
    attack(name, apply(vec![object]))
}

/// Fields that no Kiven object has, each at its place in a Cluster.
fn fields() -> Vec<Attack> {
    let cluster = |name, path: &'static str, value: Value| {
        object(name, "Cluster", |object| {
            let (parent, key) = path.rsplit_once('/').unwrap_or(("", path));
            let place = if parent.is_empty() { &mut object["spec"] } else { object.pointer_mut(&format!("/spec/{parent}")).unwrap() };
            place[key] = value;
        })
    };
    vec![
        cluster("image", "imageName", json!("evil.example/postgres:16")),
        cluster("other catalog", "imageCatalogRef/name", json!("evil")),
        cluster("other major", "imageCatalogRef/major", json!(99)),
        cluster("environment variables", "env", json!([{ "name": "A", "value": "b" }])),
        cluster("projected volume", "projectedVolumeTemplate", json!({ "sources": [{ "secret": { "name": "other" } }] })),
        cluster("replica of elsewhere", "replica", json!({ "enabled": true, "source": "evil" })),
        cluster("other cluster", "externalClusters", json!([{ "name": "evil", "connectionParameters": { "host": "evil.example" } }])),
        cluster("maintenance window", "nodeMaintenanceWindow", json!({ "inProgress": true, "reusePVC": false })),
        cluster("published service", "managed/services", json!({ "additional": [{ "selectorType": "rw" }] })),
        cluster("host access", "postgresql/pg_hba", json!(["host all all 0.0.0.0/0 trust"])),
        cluster("dangerous parameter", "postgresql/parameters/archive_command", json!("true")),
        cluster("passwords written down", "postgresql/parameters/pg_stat_statements.track_utility", json!("on")),
        cluster("preloaded library", "postgresql/shared_preload_libraries", json!(["evil"])),
        cluster("superuser access", "enableSuperuserAccess", json!(true)),
        cluster("SQL at the start", "bootstrap/initdb/postInitSQL", json!(["COPY (SELECT 1) TO PROGRAM 'id'"])),
        cluster("SQL by reference", "bootstrap/initdb/postInitSQLRefs", json!({ "secretRefs": [{ "name": "x", "key": "y" }] })),
        cluster("foreign Secret", "bootstrap/initdb/secret", json!({ "name": "bank-000000-app" })),
        cluster("other authority", "certificates/serverCASecret", json!("shop-ca-of-mine")),
        cluster(
            "other AWS role",
            "serviceAccountTemplate",
            json!({ "metadata": { "annotations": { "eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/admin" } } }),
        ),
        object("second archiver", "Cluster", |o| {
            let mut second = o["spec"]["plugins"][0].clone();
            second["parameters"]["serverName"] = json!("evil");
            o["spec"]["plugins"].as_array_mut().unwrap().push(second);
        }),
        cluster("archive off", "plugins", json!([])),
        cluster("fewer instances", "instances", json!(1)),
        cluster("no instances", "instances", json!(0)),
        cluster("smaller storage", "storage/size", json!("1Gi")),
        cluster("other storage", "storage/storageClass", json!("other")),
        cluster("dropped roles", "managed/roles", json!([])),
        object("exchanged role", "Cluster", |o| o["spec"]["managed"]["roles"][0]["name"] = json!("evil")),
        object("absent role", "Cluster", |o| o["spec"]["managed"]["roles"][0]["ensure"] = json!("absent")),
        object("powerful role", "Cluster", |o| o["spec"]["managed"]["roles"][0]["superuser"] = json!(true)),
        object("role that runs programs", "Cluster", |o| o["spec"]["managed"]["roles"][0]["inRoles"] = json!(["pg_execute_server_program"])),
        object("other server name", "Cluster", |o| o["spec"]["plugins"][0]["parameters"]["serverName"] = json!("other")),
        object("foreign archive", "Cluster", |o| o["spec"]["plugins"][0]["parameters"]["barmanObjectName"] = json!("bank-archive")),
    ]
}

/// The other kinds, and kinds that are none of Kiven's.
fn kinds() -> Vec<Attack> {
    let foreign = |name, api_version: &str, kind: &str, spec: Value| {
        let id = DatabaseId::from_random([2; 16]);
        let metadata = json!({ "name": "evil", "namespace": "kiven-databases", "labels": { DATABASE_LABEL: id } });
        attack(name, apply(vec![json!({ "apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec })]))
    };
    let pod = |content: Value| json!({ "containers": [content] });
    vec![
        foreign("cluster-wide kind", "rbac.authorization.k8s.io/v1", "ClusterRole", json!({})),
        foreign("binding", "rbac.authorization.k8s.io/v1", "RoleBinding", json!({})),
        foreign("namespace", "v1", "Namespace", json!({})),
        foreign("CRD", "apiextensions.k8s.io/v1", "CustomResourceDefinition", json!({})),
        foreign("Secret", "v1", "Secret", json!({})),
        foreign("volume", "v1", "PersistentVolume", json!({ "persistentVolumeReclaimPolicy": "Delete" })),
        foreign("claim", "v1", "PersistentVolumeClaim", json!({})),
        foreign("privileged pod", "v1", "Pod", pod(json!({ "name": "a", "image": "evil", "securityContext": { "privileged": true } }))),
        foreign("pod on the node's disk", "v1", "Pod", json!({ "volumes": [{ "hostPath": { "path": "/" } }], "containers": [] })),
        foreign("job", "batch/v1", "Job", json!({ "template": { "spec": {} } })),
        foreign("other version", "postgresql.cnpg.io/v1beta1", "Cluster", json!({})),
        object("foreign namespace", "Cluster", |o| o["metadata"]["namespace"] = json!("kube-system")),
        object("foreign label", "Cluster", |o| o["metadata"]["labels"][DATABASE_LABEL] = json!(DatabaseId::from_random([7; 16]))),
        object("mark", "Cluster", |o| o["metadata"]["annotations"]["kiven.io/delete-after"] = json!("1970-01-01T00:00:00Z")),
        object("owner", "Cluster", |o| o["metadata"]["ownerReferences"] = json!([])),
        object("finalizer", "Cluster", |o| o["metadata"]["finalizers"] = json!(["evil/x"])),
        object("deep nesting", "Cluster", |o| o["spec"]["affinity"] = (0..40).fold(json!(1), |inner, _| json!({ "a": inner }))),
        object("image in a pooler", "Pooler", |o| o["spec"]["template"]["spec"]["containers"][0]["image"] = json!("evil")),
        object("command in a pooler", "Pooler", |o| o["spec"]["template"]["spec"]["containers"][0]["command"] = json!(["sh"])),
        object("second container", "Pooler", |o| o["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().push(json!({ "name": "evil" }))),
        object("host network", "Pooler", |o| o["spec"]["template"]["spec"]["hostNetwork"] = json!(true)),
        object("host path", "Pooler", |o| o["spec"]["template"]["spec"]["volumes"] = json!([{ "name": "a", "hostPath": { "path": "/" } }])),
        object("account of a pooler", "Pooler", |o| o["spec"]["template"]["spec"]["serviceAccountName"] = json!("kiven-agent")),
        object("foreign Cluster in a pooler", "Pooler", |o| o["spec"]["cluster"]["name"] = json!("bank-1")),
        object("load balancer", "Service", |o| o["spec"]["type"] = json!("LoadBalancer")),
        object("external name", "Service", |o| o["spec"]["externalName"] = json!("evil.example")),
        object("external address", "Service", |o| o["spec"]["externalIPs"] = json!(["192.0.2.1"])),
        object("service to another database", "Service", |o| {
            o["spec"]["selector"] = json!({ "cnpg.io/cluster": generation(7, "bank").names().cluster })
        }),
        object("open door", "NetworkPolicy", |o| o["spec"]["ingress"] = json!([{ "ports": [{ "port": 5432 }] }])),
        object("door for any operator", "NetworkPolicy", |o| {
            o["spec"]["ingress"] = json!([{ "from": [{ "namespaceSelector": {}, "podSelector": { "matchLabels": { "app.kubernetes.io/name": "cloudnative-pg" } } }], "ports": [{ "port": 5432 }] }]);
        }),
        object("open way out", "NetworkPolicy", |o| o["spec"]["egress"] = json!([{ "to": [{ "ipBlock": { "cidr": "0.0.0.0/0" } }] }])),
        object("policy before another", "NetworkPolicy", |o| {
            o["spec"]["podSelector"]["matchLabels"][DATABASE_LABEL] = json!(DatabaseId::from_random([7; 16]))
        }),
        object("one direction", "NetworkPolicy", |o| o["spec"]["policyTypes"] = json!(["Ingress"])),
        object("shorter retention", "ObjectStore", |o| o["spec"]["retentionPolicy"] = json!("1d")),
        object("no retention", "ObjectStore", |o| o["spec"]["retentionPolicy"] = Value::Null),
        object("other destination", "ObjectStore", |o| o["spec"]["configuration"]["destinationPath"] = json!("s3://elsewhere")),
        object("other endpoint", "ObjectStore", |o| o["spec"]["configuration"]["endpointURL"] = json!("https://evil.example")),
        object("credentials", "ObjectStore", |o| o["spec"]["configuration"]["s3Credentials"]["accessKeyId"] = json!({ "name": "x", "key": "y" })),
        object("dropped database", "Database", |o| o["spec"]["ensure"] = json!("absent")),
        object("database that goes along", "Database", |o| o["spec"]["databaseReclaimPolicy"] = json!("delete")),
        object("renamed database", "Database", |o| o["spec"]["name"] = json!("other")),
        object("dropped extension", "Database", |o| o["spec"]["extensions"] = json!([{ "name": "pg_trgm", "ensure": "absent" }])),
        attack("taken name", apply(vec![taken()])),
    ]
}

/// The other database's Cluster, as if it were this one's.
fn taken() -> Value {
    let mut cluster = Cnpg.cluster(&generation(7, "bank"), Power::On).remove(1);
    let own = objects_of(&generation(2, "shop")).into_iter().find(|object| object["kind"] == "Cluster").unwrap();
    cluster["metadata"]["labels"] = own["metadata"]["labels"].clone();
    cluster["spec"] = own["spec"].clone();
    cluster
}

/// Commands that remove, and Secrets.
fn ends() -> Vec<Attack> {
    let (shop, bank) = (generation(2, "shop"), generation(7, "bank"));
    let (own, foreign) = (shop.names().cluster, bank.names().cluster);
    let consent = |seed| Consent { database_id: DatabaseId::from_random([seed; 16]), given_by: "key".into(), given_at: Timestamp::UNIX_EPOCH };
    let retire =
        |cluster: &str, seed| CommandBody::Retire { cluster: cluster.into(), services: vec![], delete_after: later(), consent: consent(seed) };
    let secret = |name: &str, seed: u8| SecretRequest {
        name: name.into(),
        labels: [(DATABASE_LABEL.to_owned(), DatabaseId::from_random([seed; 16]).to_string())].into(),
        content: SecretContent::Password { username: "evil".into() },
    };
    let secrets = |name, all| attack(name, CommandBody::EnsureSecrets { secrets: all });
    let of_the_maker = |name, cluster: &str| {
        changed(name, CommandBody::Discard { cluster: cluster.into() }, |command| command.operation_id = OperationId::from_random([3; 16]))
    };
    vec![
        attack("retire without consent", retire(&own, 7)),
        attack("retire another", retire(&foreign, 2)),
        attack("purge without consent", CommandBody::Purge { cluster: own.clone(), consent: consent(7) }),
        attack("purge without a mark", CommandBody::Purge { cluster: own.clone(), consent: consent(2) }),
        attack("purge another", CommandBody::Purge { cluster: foreign.clone(), consent: consent(2) }),
        attack("discard of another operation's", CommandBody::Discard { cluster: own.clone() }),
        of_the_maker("discard after the hand-over", &own),
        of_the_maker("discard another", &foreign),
        attack("hand another over", CommandBody::HandOver { cluster: foreign.clone() }),
        attack("unretire another", CommandBody::Unretire { cluster: foreign.clone() }),
        attack("backup of another", CommandBody::TakeBackup { cluster: foreign.clone(), name: format!("{foreign}-x") }),
        attack("await backups of another", CommandBody::AwaitBackups { cluster: foreign.clone() }),
        attack("backup under another name", CommandBody::TakeBackup { cluster: own.clone(), name: "evil".into() }),
        attack("switch another over", CommandBody::Switchover { cluster: foreign.clone(), away_from_zone: "a".into() }),
        attack("renew another's certificate", CommandBody::RenewCertificate { cluster: foreign, replaces: "x".into() }),
        attack("operator that is not listed", CommandBody::MoveComponent { component: Component::Operator, version: "9.9.9".into() }),
        attack("operator known to be bad", CommandBody::MoveComponent { component: Component::Operator, version: "1.30.0".into() }),
        attack("operator of somebody else", CommandBody::MoveComponent { component: Component::Operator, version: "1.29.2".into() }),
        secrets("Secret of another", vec![secret("shop-x", 7)]),
        secrets("Secret of another name", vec![secret(&format!("{own}x"), 2), secret("bank-server", 2)]),
        secrets("too many Secrets", vec![secret("x", 2); 11]),
        attack("too many objects", apply(vec![json!({}); 11])),
    ]
}

/// Commands that are not what, whose or when they should be.
fn envelopes() -> Vec<Attack> {
    let expired =
        |name, body| Attack { verdict: Verdict::Refused(Code::COMMAND_EXPIRED), ..changed(name, body, |c| c.not_after = Timestamp::UNIX_EPOCH) };
    let whole = || apply(objects_of(&generation(2, "shop")).into_iter().take(1).collect());
    let raw = |name: &'static str, body: &[u8], epoch| Attack {
        command: kiven_proto::v1::Command { id: format!("raw/{name}"), body: body.to_vec(), epoch },
        ..attack(name, CommandBody::Inspect)
    };
    let sent = wire(&model("sent", whole()));
    let other_id = kiven_proto::v1::Command { id: "another/id".into(), ..sent.clone() };
    vec![
        expired("late", whole()),
        changed("other environment", whole(), |c| c.environment_id = EnvironmentId::from_random([8; 16])),
        changed("no database", whole(), |c| c.database_id = None),
        changed("Cluster beside its lost volumes", apply(lost_cluster()), |c| c.database_id = Some(DatabaseId::from_random([9; 16]))),
        // The newest fence is remembered with the first command that gets as far as that.
        Attack { verdict: Verdict::Allowed, ..attack("current", CommandBody::HandOver { cluster: generation(2, "shop").names().cluster }) },
        changed("out of order", whole(), |c| c.fence = FENCE - 1),
        changed("fence out of reach", CommandBody::HandOver { cluster: generation(2, "shop").names().cluster }, |c| c.fence = u64::MAX),
        changed("database that is not there", CommandBody::HandOver { cluster: generation(8, "none").names().cluster }, |c| {
            c.database_id = Some(DatabaseId::from_random([8; 16]));
        }),
        // Whoever sent a fence out of reach has locked nobody out.
        Attack { verdict: Verdict::Allowed, ..attack("current still", CommandBody::HandOver { cluster: generation(2, "shop").names().cluster }) },
        Attack {
            command: kiven_proto::v1::Command { epoch: EPOCH - 1, ..wire(&model("old epoch", whole())) },
            ..attack("old epoch", CommandBody::Inspect)
        },
        Attack { command: kiven_proto::v1::Command { epoch: 0, ..wire(&model("no epoch", whole())) }, ..attack("no epoch", CommandBody::Inspect) },
        Attack { command: other_id, ..attack("other id", CommandBody::Inspect) },
        raw("malformed", b"{\"id\": 1", EPOCH),
        raw("empty", b"", EPOCH),
        raw("unknown body", br#"{"id":"raw/unknown body","body":{"run_shell":{"command":"id"}}}"#, EPOCH),
        raw("oversized", &vec![b' '; 600 * 1024], EPOCH),
        changed("long id", CommandBody::Inspect, |c| c.id = "x".repeat(300)),
        replayed(),
    ]
}

/// One that ended before gets its answer again, whatever it now asks for.
fn replayed() -> Attack {
    let mut command = model(
        "late",
        CommandBody::Purge {
            cluster: generation(2, "shop").names().cluster,
            consent: Consent { database_id: DatabaseId::from_random([2; 16]), given_by: "key".into(), given_at: Timestamp::UNIX_EPOCH },
        },
    );
    command.not_after = later();
    Attack { name: "replayed", command: wire(&command), verdict: Verdict::Refused(Code::COMMAND_EXPIRED) }
}

/// Reading what people wrote into a log.
fn readers() -> Vec<Attack> {
    let expires_at = Timestamp::from_second(later().as_second() - 60).unwrap();
    let own = DatabaseId::from_random([2; 16]);
    let reading = |seed: u8| LogReading {
        session_id: LogSessionId::from_random([seed; 16]),
        reader_key: kiven_seal::Reader::generate().public_key(),
        certificate: None,
        filter: LogFilter { follow: true, ..LogFilter::default() },
        expires_at,
        lease_until: expires_at,
    };
    let signed = |reading: LogReading, database: &DatabaseId| {
        let text = statement(database, &reading.session_id, &reading.reader_key, reading.expires_at.as_second());
        LogReading { certificate: Some(customer().certify(&text)), ..reading }
    };
    let read = |name, reading: LogReading, code| Attack { verdict: Verdict::Refused(code), ..attack(name, CommandBody::ReadLogs(Box::new(reading))) };
    let allowed = |name, reading: LogReading| Attack { verdict: Verdict::Allowed, ..attack(name, CommandBody::ReadLogs(Box::new(reading))) };
    let (first, second, untrusted) = (signed(reading(1), &own), signed(reading(2), &own), Code::READER_UNTRUSTED);
    let exchanged = LogReading { reader_key: kiven_seal::Reader::generate().public_key(), ..first.clone() };
    let past = Timestamp::from_second(crate::now().as_second() - 1).unwrap();
    vec![
        read("log for an uncertified key", reading(3), untrusted),
        read("log for an exchanged key", exchanged, untrusted),
        read("log of another database", signed(reading(4), &DatabaseId::from_random([7; 16])), untrusted),
        read("log after its time", signed(LogReading { expires_at: past, ..reading(5) }, &own), Code::COMMAND_EXPIRED),
        Attack {
            verdict: Verdict::Refused(Code::AGENT_REFUSED),
            ..changed("log of no database", CommandBody::ReadLogs(Box::new(first.clone())), |command| command.database_id = None)
        },
        allowed("log for a certified key", first.clone()),
        allowed("log for a second reader", second),
        read("log for another key of an open session", signed(LogReading { reader_key: reading(1).reader_key, ..first }, &own), Code::AGENT_REFUSED),
        read("log for too many", signed(reading(6), &own), Code::TOO_MANY_READERS),
    ]
}

/// Everything that is tried, in this order.
pub(crate) fn attacks() -> Vec<Attack> {
    [envelopes(), fields(), kinds(), ends(), readers()].into_iter().flatten().collect()
}
