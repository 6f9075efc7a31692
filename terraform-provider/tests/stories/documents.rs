//! What is published beside the provider: its schema as Terraform prints it, and examples that are valid.
use super::*;

/// Parts that older clients do not print.
const NEWER: [&str; 2] = ["ephemeral_resource_schemas", "resource_identity_schemas"];

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test]
async fn the_committed_schema_is_what_terraform_prints() {
    if !there_is_a_client() {
        return;
    }
    let required = std::fs::read_to_string(package().join("examples/provider/provider.tf")).unwrap();
    let terraform = Terraform::new(&[("main.tf", &required)]).await;
    let output = terraform.run(&["providers", "schema", "-json"]).await;
    let printed: Json = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", words(&output)));
    let committed: Json = serde_json::from_str(&std::fs::read_to_string(package().join("schema.json")).unwrap()).unwrap();
    // Each client names the one provider by its own registry.
    let of = |json: &Json| json["provider_schemas"].as_object().unwrap().values().next().unwrap().as_object().unwrap().clone();
    let (printed, committed) = (of(&printed), of(&committed));
    for (part, schemas) in &committed {
        if printed.contains_key(part) || !NEWER.contains(&part.as_str()) {
            assert_eq!(printed.get(part), Some(schemas), "{part}");
        }
    }
    assert!(printed.keys().all(|part| committed.contains_key(part)));
}

/// All examples together are one module, in which each name is used once.
#[tokio::test]
async fn every_example_is_valid() {
    if !there_is_a_client() {
        return;
    }
    let mut files = Vec::new();
    for kind in std::fs::read_dir(package().join("examples")).unwrap().map(|entry| entry.unwrap().path()) {
        let one = std::fs::read_dir(&kind).unwrap().map(|entry| entry.unwrap().path());
        for path in one
            .flat_map(|path| if path.is_dir() { std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect() } else { vec![path] })
        {
            if path.extension().is_some_and(|extension| extension == "tf") {
                let name = path.strip_prefix(package().join("examples")).unwrap().to_string_lossy().replace('/', "-");
                files.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let all: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let terraform = Terraform::new(&all).await;
    let output = terraform.run(&["validate", "-no-color"]).await;
    assert!(output.status.success() && files.len() >= 10, "{} examples: {}", files.len(), words(&output));
}
