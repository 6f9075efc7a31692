//! The suite `kube`: a real API server, etcd and controllers without a node, and what runs against them.
mod control_plane;
mod programs;

use crate::suites::{Count, cargo_test_with};
use anyhow::Result;
use control_plane::ControlPlane;
use std::ffi::OsString;
use std::path::PathBuf;

/// What the tests are told: an administrator's kubeconfig.
const KUBECONFIG: &str = "KIVEN_KUBECONFIG";
/// The audit log of the agent's requests.
const AUDIT: &str = "KIVEN_KUBE_AUDIT";
/// Set where controllers run.
const CONTROLLERS: &str = "KIVEN_KUBE_CONTROLLERS";
/// The program `helm`.
const HELM: &str = "KIVEN_HELM";

/// Installs what the suite needs, as far as this machine can.
pub(crate) fn install() {
    for missing in [programs::helm().err(), programs::control_plane().err()].into_iter().flatten() {
        println!("the suite `kube` will be skipped: {missing:#}");
    }
}

/// Runs the suite against the API server that is given by a kubeconfig, else against one that it starts and ends.
pub(crate) fn run(count: &mut Count) -> Result<()> {
    let helm = match programs::helm() {
        Ok(helm) => helm,
        Err(error) => return skip(count, &error),
    };
    if let Err(error) = crate::manifests::fetch() {
        return skip(count, &error.context("the manifests of CloudNativePG are not here"));
    }
    let mut environment: Vec<(&str, OsString)> = vec![(HELM, helm.into())];
    let given = std::env::var_os(KUBECONFIG).filter(|path| !path.is_empty());
    let _running = match given {
        Some(kubeconfig) => {
            println!("an API server is given: {}", PathBuf::from(&kubeconfig).display());
            // What is given by hand is a whole cluster, and keeps its audit log to itself.
            environment.extend([(KUBECONFIG, kubeconfig), (CONTROLLERS, "1".into())]);
            None
        }
        None => {
            let programs = match programs::control_plane() {
                Ok(programs) => programs,
                Err(error) => return skip(count, &error),
            };
            let running = ControlPlane::start(&programs)?;
            environment.extend([(KUBECONFIG, running.kubeconfig().into()), (AUDIT, running.audit_log().into())]);
            if running.has_controllers() {
                environment.push((CONTROLLERS, "1".into()));
            }
            Some(running)
        }
    };
    for (package, test) in TESTS {
        cargo_test_with(count, &["-p", package, "--test", test, "--", "--nocapture", "--test-threads", "1"], &environment)?;
    }
    Ok(())
}

/// What runs, one after the other: all of it has the one API server for itself.
const TESTS: [(&str, &str); 2] = [("kiven-agent", "kube"), ("kiven-cli", "manifest")];

fn skip(count: &mut Count, why: &anyhow::Error) -> Result<()> {
    count.skipped.push(format!("kube: {why:#}"));
    Ok(())
}
