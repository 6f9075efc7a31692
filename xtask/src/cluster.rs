//! The suite `cluster`: the whole system on a Kubernetes cluster that is given, where CloudNativePG runs.
use crate::suites::{Count, cargo_test};
use anyhow::Result;

/// What gives the cluster, and the S3 that it and this machine reach.
const GIVEN: [&str; 2] = ["KIVEN_E2E_KUBECONFIG", "KIVEN_E2E_S3"];

/// Runs the suite where a cluster is given; else says that it is skipped.
pub(crate) fn run(count: &mut Count) -> Result<()> {
    let missing: Vec<&str> = GIVEN.into_iter().filter(|name| std::env::var_os(name).is_none_or(|value| value.is_empty())).collect();
    if !missing.is_empty() {
        count.skipped.push(format!("cluster: {} not set: no cluster is given (docs/cluster-suite.md)", missing.join(" and ")));
        return Ok(());
    }
    if !crate::install::on_path("kubectl") {
        count.skipped.push("cluster: kubectl is not installed".to_owned());
        return Ok(());
    }
    crate::local::build(false)?;
    cargo_test(count, &["-p", "kiven-tests", "--test", "cluster", "--", "--nocapture", "--test-threads", "1"])
}
