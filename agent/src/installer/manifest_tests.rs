//! Real manifests moved into Kiven's namespace: golden summaries of what would be applied, and what is refused.
use super::*;
use kiven_model::operators::RELEASES;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Reference manifests: `KIVEN_CNPG_MANIFESTS`, or the folder beside the checkout. They are never copied into the project.
#[expect(clippy::disallowed_methods, reason = "a test looks for reference data")]
fn folder() -> PathBuf {
    let named = std::env::var("KIVEN_CNPG_MANIFESTS").ok().map(PathBuf::from);
    named.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/cnpg"))
}

/// A release that is not listed, for it is known to be bad: moving it shows that a newer minor version moves too.
const NOT_LISTED: Release = Release {
    version: "1.30.0",
    file: "cnpg-1.30.0.yaml",
    sha256: "f8bede43fe4ee0d478c2355b204a36876b2ae4faac60f2a9452280b293da3b88",
    ..RELEASES[0]
};

/// The releases whose manifests are there.
fn releases() -> impl Iterator<Item = (&'static Release, Vec<u8>)> {
    RELEASES.iter().chain([&NOT_LISTED]).filter_map(|release| Some((release, std::fs::read(folder().join(release.file)).ok()?)))
}

const PLAIN: Placement<'static> = Placement { namespace: "kiven-system", registry: None, pull_secrets: &[] };

/// One line an object: kind, name, and everything in it that says where it is and what it runs.
fn summary(objects: &[Value]) -> String {
    let mut text = String::new();
    for object in objects {
        let _ = write!(text, "{} {}", word(&object["kind"]), word(&object["metadata"]["name"]));
        let mut told = Vec::new();
        tell(object, "", &mut told);
        told.sort();
        told.dedup();
        let _ = writeln!(text, "{}{}", if told.is_empty() { "" } else { "  " }, told.join(" "));
    }
    text
}

fn tell(value: &Value, key: &str, told: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            map.iter().filter(|(key, _)| !matches!(key.as_str(), "schema" | "properties")).for_each(|(key, inner)| tell(inner, key, told))
        }
        Value::Array(list) => list.iter().for_each(|inner| tell(inner, key, told)),
        Value::String(text)
            if matches!(key, "namespace" | "image" | "secretName" | "imagePullPolicy" | "SIDECAR_IMAGE") || text.contains("ghcr.io") =>
        {
            let text = if key == "SIDECAR_IMAGE" { plain(value).unwrap_or_default() } else { text.clone() };
            told.push(format!("{key}={text}"));
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Compares with a committed summary; `UPDATE_GOLDEN=1` writes it.
#[expect(clippy::disallowed_methods, reason = "a test is told to write its golden file")]
fn golden(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    if std::env::var("UPDATE_GOLDEN").is_ok() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), text, "{}", path.display());
}

#[test]
fn every_manifest_moves_whole() {
    let missing: Vec<&str> = RELEASES.iter().map(|release| release.file).filter(|file| !folder().join(file).exists()).collect();
    if !missing.is_empty() {
        println!("\nskipped: manifests not in {} (name a folder in KIVEN_CNPG_MANIFESTS): {}", folder().display(), missing.join(", "));
    }
    for (release, bytes) in releases() {
        let documents = read(release, &bytes).unwrap();
        let dropped = documents.iter().filter(|one| one["kind"] == "Namespace" || word(&one["apiVersion"]).starts_with(CERTIFICATES_GROUP)).count();
        let objects = place(release, documents.clone(), &PLAIN).unwrap();
        let added = usize::from(release.component == Component::Operator);
        assert_eq!(objects.len(), documents.len() - dropped + added);
        assert!(!objects.iter().any(|object| mentions(object, "-testing") || mentions(&object["metadata"], ORIGINAL_NAMESPACE)));
        golden(&format!("{}-{}.txt", release.component.deployment(), release.version), &summary(&objects));
    }
}

#[test]
fn the_small_parser_reads_what_the_usual_one_reads() {
    for (release, bytes) in releases() {
        let usual: Vec<Value> = serde_yaml_ng::Deserializer::from_slice(&bytes)
            .map(|document| serde::Deserialize::deserialize(document).unwrap())
            .filter(|document: &Value| !document.is_null())
            .collect();
        assert!(read(release, &bytes).unwrap() == usual, "{}", release.file);
    }
}

#[test]
fn a_mirror_of_images_and_its_secrets_reach_every_pod() {
    for (release, bytes) in releases() {
        let secrets = ["mirror".to_owned()];
        let placement = Placement { registry: Some("registry.example/pg"), pull_secrets: &secrets, ..PLAIN };
        let objects = place(release, read(release, &bytes).unwrap(), &placement).unwrap();
        let told = summary(&objects);
        assert!(!told.contains("ghcr.io") && told.contains("registry.example/pg/cloudnative-pg/"), "{told}");
        let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
        assert_eq!(deployment["spec"]["template"]["spec"]["imagePullSecrets"], json!([{ "name": "mirror" }]));
    }
}

#[test]
fn one_byte_more_is_another_manifest() {
    let release = &RELEASES[0];
    let error = read(release, b"kind: Namespace\n").unwrap_err().to_string();
    assert!(error.contains(release.sha256) && error.contains(release.file), "{error}");
}

/// A release with this text as its manifest.
fn check(text: &str, expected: &str) {
    let release = Release { component: Component::Plugin, ..RELEASES[0] };
    let said = match place(&release, documents(text).unwrap(), &PLAIN) {
        Ok(objects) => summary(&objects),
        Err(error) => error.to_string(),
    };
    assert_eq!(said.trim_end(), expected, "{text}");
}

#[test]
fn what_nobody_expected_is_refused() {
    let refused = |what: &str| format!("cnpg-1.29.1.yaml holds what nobody expected: {what}");
    check("# only words\n---\n", "");
    check("{apiVersion: v1, kind: Namespace, metadata: {name: cnpg-system}}", "");
    check("{apiVersion: v1, kind: Namespace, metadata: {name: other}}", &refused("Namespace other"));
    check("{apiVersion: batch/v1, kind: Job, metadata: {name: x, namespace: cnpg-system}}", &refused("Job x"));
    check("{apiVersion: v1, kind: Service, metadata: {name: x, namespace: default}}", &refused("Service x: the namespace \"default\""));
    check("{apiVersion: v1, kind: Service, metadata: {name: x}}", &refused("Service x: its namespace is missing, or one too many"));
    let role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: x}\nsubjects:\n- {kind: ServiceAccount, name: y, namespace: kube-system}\n";
    check(role, &refused("ClusterRoleBinding x: the namespace \"kube-system\""));
    let hidden = "{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: cnpg-system}, data: {url: https://y.cnpg-system.svc}}";
    check(hidden, &refused("ConfigMap x names cnpg-system at a place that is not known"));
    let pod = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: x, namespace: cnpg-system}, spec: {template: {spec: {containers: [{image: 'evil:1'}]}}}}";
    check(pod, &refused("Deployment x: the image evil:1"));
    let secret = "{apiVersion: v1, kind: Secret, metadata: {name: x, namespace: cnpg-system}, data: {token: c2VjcmV0}}";
    check(secret, &refused("Secret x: the key token"));
}

#[test]
fn the_chart_lets_the_installer_write_these_cluster_wide_objects_and_no_others() {
    const CLUSTER_WIDE: [&str; 5] =
        ["CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut wanted = std::collections::BTreeSet::new();
    for release in RELEASES {
        let golden = root.join("golden").join(format!("{}-{}.txt", release.component.deployment(), release.version));
        let text = std::fs::read_to_string(golden).unwrap();
        let names = text.lines().filter_map(|line| line.split_once(' ')).filter(|(kind, _)| CLUSTER_WIDE.contains(kind));
        wanted.extend(names.filter_map(|(_, rest)| rest.split_whitespace().next()).map(str::to_owned));
    }
    let chart = std::fs::read_to_string(root.join("chart/templates/installer.yaml")).unwrap();
    let role = chart.split("\n---\n").find(|document| document.contains("kind: ClusterRole\n")).unwrap();
    let listed = role.lines().filter_map(|line| line.strip_prefix("      - ")).map(str::to_owned).collect();
    assert_eq!(wanted, listed);
}

#[test]
fn the_policy_of_the_chart_lists_the_digests_of_the_releases() {
    let policy = include_str!("../../chart/templates/operator-policy.yaml");
    let listed: Vec<&str> = policy.lines().filter_map(|line| line.trim().strip_prefix("'@")?.split('\'').next()).collect();
    let digests: Vec<&str> = RELEASES.iter().flat_map(|release| release.images).map(|image| image.digest).collect();
    assert_eq!(listed, digests);
}
