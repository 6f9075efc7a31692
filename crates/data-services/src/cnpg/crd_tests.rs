//! Every built object, for every plan, against the CRDs of both operator releases; and the shapes as golden files.
use super::{Cnpg, DataService, Generation};
use kiven_model::api::{CustomRequest, DatabaseRequest};
use kiven_model::database::Power;
use kiven_model::plan::PlanName;
use kiven_model::{DatabaseId, EnvironmentId, OperationId, request};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

const MANIFESTS: [&str; 3] = ["cnpg-1.29.1.yaml", "cnpg-1.30.0.yaml", "plugin-barman-cloud-v0.14.0.yaml"];

fn generation(plan: PlanName) -> Generation {
    let custom = plan == PlanName::Custom;
    let asked = DatabaseRequest {
        name: "shop-eu".into(),
        environment_id: EnvironmentId::from_random([1; 16]).to_string(),
        plan: plan.to_string(),
        custom: custom.then_some(CustomRequest { vcpu: 2, memory_gib: 8 }),
        storage_gb: custom.then_some(20),
        instances: custom.then_some(5),
        allowed_namespaces: vec!["web".into()],
        extensions: vec!["pg_trgm".into()],
        parameters: BTreeMap::from([("work_mem".to_owned(), "16MB".to_owned())]),
        ..DatabaseRequest::default()
    };
    Generation {
        id: DatabaseId::from_random([2; 16]),
        spec: request::database(&asked, &[16]).unwrap().into_inner(),
        number: 1,
        bucket: "kiven-backups-000000000000-eu-west-1-0a1b2c3d".into(),
        backup_role_arn: "arn:aws:iam::000000000000:role/kiven-backup".into(),
        made_by: OperationId::from_random([3; 16]),
        revision: OperationId::from_random([3; 16]),
    }
}

fn objects(generation: &Generation, power: Power) -> Vec<Value> {
    [
        Cnpg.cluster(generation, power),
        Cnpg.pooler(generation, power),
        Cnpg.backups(generation, power),
        Cnpg.network(generation),
        Cnpg.initial_database(generation),
    ]
    .concat()
}

/// Reference manifests: `KIVEN_CNPG_MANIFESTS`, or the folder beside the checkout.
fn manifests() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "a test may look for its reference data")]
    let named = std::env::var("KIVEN_CNPG_MANIFESTS").ok().map(PathBuf::from);
    named.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/cnpg"))
}

/// The schema of each `group/version/kind` in a manifest.
fn schemas(file: &str) -> BTreeMap<String, Value> {
    use serde::Deserialize;
    let path = manifests().join(file);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; set KIVEN_CNPG_MANIFESTS to the folder with CNPG's manifests", path.display()));
    let mut found = BTreeMap::new();
    for document in serde_yaml_ng::Deserializer::from_str(&text) {
        let value = Value::deserialize(document).unwrap();
        if value["kind"] != "CustomResourceDefinition" {
            continue;
        }
        let (group, kind) = (value["spec"]["group"].as_str().unwrap().to_owned(), value["spec"]["names"]["kind"].as_str().unwrap().to_owned());
        for version in value["spec"]["versions"].as_array().unwrap() {
            let mut schema = version["schema"]["openAPIV3Schema"].clone();
            close(&mut schema);
            found.insert(format!("{group}/{}/{kind}", version["name"].as_str().unwrap()), schema);
        }
    }
    found
}

/// The API server prunes unknown fields silently; for us an unknown field is a mistake.
fn close(schema: &mut Value) {
    if let Some(map) = schema.as_object_mut() {
        if map.get("properties").is_some() && !map.contains_key("x-kubernetes-preserve-unknown-fields") {
            map.entry("additionalProperties").or_insert(json!(false));
        }
        if map.get("x-kubernetes-int-or-string") == Some(&json!(true)) {
            map.remove("type");
        }
        map.values_mut().for_each(close);
    } else if let Some(list) = schema.as_array_mut() {
        list.iter_mut().for_each(close);
    }
}

#[test]
fn every_object_validates_against_both_releases() {
    if !manifests().is_dir() {
        // Its own line, whatever the test harness has written before.
        println!("\nskipped: objects against CNPG's CRDs: no manifests in {}, name their folder in KIVEN_CNPG_MANIFESTS", manifests().display());
        return;
    }
    let plugin = schemas(MANIFESTS[2]);
    let mut checked = 0;
    for release in &MANIFESTS[..2] {
        let mut known = schemas(release);
        known.extend(plugin.clone());
        for plan in PlanName::ALL {
            for power in [Power::On, Power::Off] {
                for mut object in objects(&generation(plan), power) {
                    let kind = format!("{}/{}", object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
                    let Some(schema) = known.get(&kind) else {
                        assert!(!kind.contains("cnpg"), "{release} has no {kind}");
                        continue;
                    };
                    object["metadata"] = json!({});
                    let mut schema = schema.clone();
                    schema["properties"]["metadata"] = json!({ "type": "object" });
                    let validator = jsonschema::validator_for(&schema).unwrap();
                    let errors: Vec<String> = validator.iter_errors(&object).map(|e| format!("{}: {e}", e.instance_path())).collect();
                    assert!(errors.is_empty(), "{release} {plan} {kind}: {errors:#?}");
                    checked += 1;
                }
            }
        }
    }
    assert_eq!(checked, 2 * 5 * 2 * 5, "ObjectStore, Cluster, Pooler, ScheduledBackup and Database of each plan and power");
}

#[test]
fn the_objects_of_each_plan_are_golden() {
    for plan in PlanName::ALL {
        let text = serde_json::to_string_pretty(&objects(&generation(plan), Power::On)).unwrap();
        expect_test::expect_file![format!("../../golden/{plan}.json")].assert_eq(&text);
    }
}

#[test]
fn no_secret_is_asked_for_by_content() {
    let text = serde_json::to_string(&Cnpg.secrets(&generation(PlanName::Startup))).unwrap();
    assert!(text.contains("shop-eu-") && !text.to_lowercase().contains("\"password\":\""));
}
