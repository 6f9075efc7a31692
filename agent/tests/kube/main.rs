//! The agent on a real API server: installed by its chart, under its own ServiceAccount, driven through its own stream.
//!
//! `cargo xtask test kube` starts the API server and runs this; by hand it wants a throw-away cluster in `KIVEN_KUBECONFIG`, and
//! Helm as `KIVEN_HELM` where it is not on the PATH. There are no nodes, so the tests play CloudNativePG, kubelet and storage.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests: helpers of integration tests are not known as such")]
mod chart;
mod cluster;
mod commands;
mod conformance;
mod database;
mod events;
mod hooks;
mod installed;
mod operator;
mod partition;
mod process;
mod proxied;
mod real;
mod relay;
mod rights;
mod volumes;
