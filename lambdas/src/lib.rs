//! What the functions share: configuration, the ports as deployed, logs.
//!
//! Invariants: a function is thin; it parses its configuration once and names everything that is missing together.
mod agent_tokens;
pub mod config;
pub mod drive;
pub mod enrol;
pub mod records;
pub mod reports;
pub mod world;

pub use config::Config;
pub use world::World;

/// JSON logs on stderr, as CloudWatch takes them.
pub fn start_logs() {
    let filter = tracing_subscriber::EnvFilter::new("info,aws_config=warn,aws_smithy_runtime=warn,lambda_runtime=warn,lambda_http=warn");
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed before");
    }
}
