//! fake-kube, held to the same table as a real API server.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test: helpers of integration tests are not known as such")]
#[path = "kube/conformance.rs"]
mod conformance;

use conformance::World;
use kiven_fake_kube::{Config, Server, Storage, system_clock};

#[tokio::test]
async fn fake_kube_shows_what_a_real_api_server_shows() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listen = "127.0.0.1:0".parse().unwrap();
    let config = Config { listen, storage: Storage::Memory, admin_token: "admin".into(), issuer: None, clock: system_clock() };
    let handle = Server::start(config).await.unwrap();
    let mut config = kube::Config::new(handle.url().parse().unwrap());
    config.auth_info.token = Some("admin".to_owned().into());
    let client = kube::Client::try_from(config.clone()).unwrap();
    let found = conformance::differences(&World { config, client, run: "table".to_owned(), has_controllers: true }).await;
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
}
