//! The schema as committed: whoever changes it sees what users will see. `cargo xtask gen` writes it anew, and the documents from it.
use crate::provider::Kiven;
use std::path::Path;
use std::sync::Arc;

#[test]
fn the_schema_is_the_committed_one() {
    let schema = kiven_tfplugin::schema_json(crate::ADDRESS, &Kiven::new(Arc::new(|_| None)));
    let fresh = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &fresh).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == fresh, "schema.json is not what the provider offers: run `cargo xtask gen`");
}
