//! The real API server, held to the same table as fake-kube.
use crate::cluster::{Admin, until, variable};
use crate::conformance::{World, differences};
use kube::ResourceExt;
use kube::api::ListParams;

#[tokio::test]
async fn the_api_server_shows_what_fake_kube_shows() {
    let admin = Admin::connect().await;
    // Namespaces take a while to go: a second run on the same server has others.
    let run = format!("table-{:x}", jiff::Timestamp::now().as_millisecond());
    let has_controllers = variable("KIVEN_KUBE_CONTROLLERS").is_some();
    let found = differences(&World { config: admin.config.clone(), client: admin.client.clone(), run: run.clone(), has_controllers }).await;
    // The next test has the server for itself: nobody empties namespaces meanwhile.
    if has_controllers {
        until("the table's namespaces are gone", async || {
            let left = admin.all("v1", "Namespace").list(&ListParams::default()).await.unwrap().items;
            (!left.iter().any(|namespace| namespace.name_any().starts_with(&run))).then_some(())
        })
        .await;
    }
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
}
