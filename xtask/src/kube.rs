//! The suite `kube`: a real API server, etcd and controllers without a node, and what runs against them.
mod control_plane;
mod programs;

use crate::suites::{Count, cargo_test_with};
use anyhow::{Result, ensure};
use control_plane::ControlPlane;
use programs::Programs;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

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
    let given = std::env::var_os(KUBECONFIG).filter(|path| !path.is_empty());
    match given {
        Some(kubeconfig) => {
            println!("an API server is given: {}", PathBuf::from(&kubeconfig).display());
            // What is given by hand is a whole cluster, and keeps its audit log to itself.
            let environment = [(HELM, helm.into()), (KUBECONFIG, kubeconfig), (CONTROLLERS, "1".into())];
            run_tests(count, &environment)?;
            for left_out in ["the installer", "the hostile table"] {
                count.skipped.push(format!("kube: {left_out}: it wants an API server of its own, {KUBECONFIG} names another"));
            }
            Ok(())
        }
        None => match programs::control_plane() {
            Ok(programs) => on_ones_own(count, &programs, helm),
            Err(error) => skip(count, &error),
        },
    }
}

/// Starts an API server for the tests of the agent, another one for the hostile table, which compares everything that is there, and
/// another one for the installer: what that brings asks webhooks of an operator that nobody runs here.
fn on_ones_own(count: &mut Count, programs: &Programs, helm: PathBuf) -> Result<()> {
    let running = ControlPlane::start(programs)?;
    let mut environment: Vec<(&str, OsString)> =
        vec![(HELM, helm.clone().into()), (KUBECONFIG, running.kubeconfig().into()), (AUDIT, running.audit_log().into())];
    if running.has_controllers() {
        environment.push((CONTROLLERS, "1".into()));
    }
    run_tests(count, &environment)?;
    drop(running);
    let running = ControlPlane::start(programs)?;
    let mut hostile: Vec<(&str, OsString)> = vec![("KUBECONFIG", running.kubeconfig().into())];
    if running.has_controllers() {
        hostile.push((CONTROLLERS, "1".into()));
    }
    cargo_test_with(count, &["-p", "kiven-agent", "--bin", "kiven-agent", "--", "--ignored", "--nocapture", "on_a_real_api_server"], &hostile)?;
    drop(running);
    let running = ControlPlane::start(programs)?;
    let rendered = running.kubeconfig().with_file_name("chart.yaml");
    std::fs::write(&rendered, render(&helm)?)?;
    let environment = [("KUBECONFIG", running.kubeconfig()), ("KIVEN_RENDERED_CHART", rendered)];
    cargo_test_with(count, &["-p", "kiven-agent", "--test", "installer", "--", "--nocapture"], &environment)
}

/// What Helm makes of the chart with nothing but what it must be told.
fn render(helm: &Path) -> Result<Vec<u8>> {
    let values = ["environmentId=env_00000000000000000000", "relayAddress=localhost:443", "apiUrl=http://localhost"];
    let mut command = Command::new(helm);
    command.args(["template", "kiven-agent", "--namespace", "kiven-system"]).arg(crate::root().join("agent/chart"));
    let output = command.args(values.iter().flat_map(|value| ["--set", value])).output()?;
    ensure!(output.status.success(), "helm template: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(output.stdout)
}

fn run_tests(count: &mut Count, environment: &[(&str, OsString)]) -> Result<()> {
    for (package, test) in TESTS {
        cargo_test_with(count, &["-p", package, "--test", test, "--", "--nocapture", "--test-threads", "1"], environment)?;
    }
    Ok(())
}

/// What runs, one after the other: all of it has the one API server for itself.
const TESTS: [(&str, &str); 2] = [("kiven-agent", "kube"), ("kiven-cli", "manifest")];

fn skip(count: &mut Count, why: &anyhow::Error) -> Result<()> {
    count.skipped.push(format!("kube: {why:#}"));
    Ok(())
}
