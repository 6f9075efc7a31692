//! The real API server, held to the same table as fake-kube.
use crate::cluster::{Admin, variable};
use crate::conformance::{World, differences};

#[tokio::test]
async fn the_api_server_shows_what_fake_kube_shows() {
    let admin = Admin::connect().await;
    // Namespaces take a while to go: a second run on the same server has others.
    let run = format!("table-{:x}", jiff::Timestamp::now().as_millisecond());
    let has_controllers = variable("KIVEN_KUBE_CONTROLLERS").is_some();
    let found = differences(&World { config: admin.config.clone(), client: admin.client, run, has_controllers }).await;
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
}
