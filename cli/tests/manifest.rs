//! What `kiven agent manifest` prints beside what `helm template` renders: the same objects, whatever the values.
//!
//! Part of `cargo xtask test kube`, which has Helm; by hand it takes the one on the PATH, or `KIVEN_HELM`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test: helpers of integration tests are not known as such")]
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

fn documents(program: &mut Command) -> Vec<Value> {
    let output = program.output().unwrap_or_else(|error| panic!("{program:?}: {error}"));
    assert!(output.status.success(), "{program:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let all = serde_yaml_ng::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap());
    let mut all: Vec<Value> = all.filter(|object| !object.is_null()).collect();
    let place = |object: &Value| ["kind", "namespace", "name"].map(|key| object.get(key).unwrap_or(&object["metadata"][key]).to_string());
    all.sort_by_key(place);
    all
}

#[test]
fn both_are_the_same_objects() {
    #[expect(clippy::disallowed_methods, reason = "a test may look for its tool")]
    let helm = std::env::var("KIVEN_HELM").unwrap_or_else(|_| "helm".to_owned());
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/chart");
    for (name, values) in sets() {
        let needed = [
            set("environmentId", "--environment-id", "env_0123456789abcdefghjk"),
            set("relayAddress", "--relay-address", "relay.kiven.example:8443"),
            set("apiUrl", "--api-url", "https://api.kiven.example"),
        ];
        let (mut rendered, mut printed) = (Command::new(&helm), Command::new(env!("CARGO_BIN_EXE_kiven")));
        rendered.args(["template", "kiven-agent"]).arg(&chart).args(["--namespace", "kiven-system"]);
        printed.args(["agent", "manifest"]);
        let needed = needed.iter().filter(|(_, flag, _)| values.iter().all(|(_, given, _)| given != flag));
        for (value, flag, typed) in needed.chain(&values) {
            rendered.args(["--set", value]);
            printed.arg(flag);
            if !typed.is_empty() {
                printed.arg(typed);
            }
        }
        let (rendered, printed) = (documents(&mut rendered), documents(&mut printed));
        assert!(rendered.len() > 8, "{name}");
        for (one, other) in rendered.iter().zip(&printed) {
            assert_eq!(one, other, "{name}");
        }
        assert_eq!(rendered.len(), printed.len(), "{name}");
        println!("{name}: {} objects, the same", printed.len());
    }
}

/// Public keys of RFC 8032's first two examples.
const TRUSTED: [&str; 2] =
    ["MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "MCowBQYDK2VwAyEAPUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw="];

type Values = Vec<(String, &'static str, String)>;

fn sets() -> Vec<(&'static str, Values)> {
    // Each value as the chart and as the command line name it.
    vec![
        ("defaults", vec![]),
        ("tokens", vec![set("agentEnrolment", "--agent-enrolment", "token"), set("apiUrl", "--api-url", "http://api.corp.example")]),
        ("a Secret of one's own", vec![set("agentEnrolment", "--agent-enrolment", "token"), set("agentTokenSecret", "--agent-token-secret", "mine")]),
        (
            "a proxy",
            vec![
                set("proxyUrl", "--proxy-url", "http://proxy.example:3128"),
                set("noProxy", "--no-proxy", "internal.example"),
                set("proxySecret", "--proxy-secret", "proxy"),
            ],
        ),
        (
            "an operator of one's own",
            vec![set("operatorNamespace", "--operator-namespace", "cnpg-system"), set("statisticsSeconds", "--statistics-seconds", "0")],
        ),
        (
            "a mirror",
            vec![
                set("installer.mirror", "--installer-mirror", "https://mirror.example/kiven"),
                set("installer.registry", "--installer-registry", "registry.example"),
                set("installer.waitSeconds", "--installer-wait-seconds", "600"),
            ],
        ),
        ("trusted readers", vec![set("trustedReaders[0]", "--trusted-reader", TRUSTED[0]), set("trustedReaders[1]", "--trusted-reader", TRUSTED[1])]),
        (
            "a private authority",
            vec![set("privateCaConfigMap", "--private-ca-config-map", "corporate"), set("apiUrl", "--api-url", "https://api.corp.example:8444")],
        ),
        (
            "another registry",
            vec![
                set("image.repository", "--image", "registry.example/kiven/agent"),
                set("image.digest", "--image-digest", &format!("sha256:{}", "ab".repeat(32))),
                set("imagePullSecrets[0].name", "--image-pull-secret", "registry"),
                (
                    "postgresql.images.17=registry.example/pg:17,postgresql.images.18=null".to_owned(),
                    "--postgresql-image",
                    "17=registry.example/pg:17".to_owned(),
                ),
            ],
        ),
        (
            "everything managed elsewhere",
            vec![
                ("storageClass.create=false".to_owned(), "--no-storage-class", String::new()),
                ("installer.enabled=false".to_owned(), "--no-installer", String::new()),
                ("preflight.enabled=false".to_owned(), "--no-preflight", String::new()),
                ("createDatabaseNamespace=false".to_owned(), "--no-database-namespace", String::new()),
                ("networkPolicy.create=false".to_owned(), "--no-network-policy", String::new()),
                set("image.tag", "--image-tag", "9.9.9"),
                set("image.pullPolicy", "--image-pull-policy", "Always"),
                set("eksClusterName", "--eks-cluster-name", "main"),
                set("awsRegion", "--aws-region", "eu-west-1"),
            ],
        ),
        (
            "an installer behind a proxy",
            vec![(
                "installer.env[0].name=HTTPS_PROXY,installer.env[0].value=http://proxy.example:3128".to_owned(),
                "--installer-env",
                "HTTPS_PROXY=http://proxy.example:3128".to_owned(),
            )],
        ),
        ("a key of one's own", vec![set("storageClass.kmsKeyId", "--kms-key-id", "arn:aws:kms:eu-west-1:000000000000:key/k")]),
    ]
}

/// A value that both take as it is.
fn set(value: &str, flag: &'static str, typed: &str) -> (String, &'static str, String) {
    (format!("{value}={typed}"), flag, typed.to_owned())
}
