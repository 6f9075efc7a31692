//! Build, demo, test, bench, tidy: everything that a contributor runs.
mod agent_bench;
mod audit;
mod bench;
mod cluster;
mod demo;
mod deploy;
mod elf;
mod functions;
mod generate;
mod install;
mod kube;
mod local;
mod manifests;
mod measure;
mod organization;
mod package;
mod provider;
mod provider_bench;
mod provider_docs;
mod relay_bench;
mod release;
mod suites;
mod terraform;
mod tidy;
mod weekend;
mod wire;
mod zip;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "Kiven's own tasks")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Builds everything, starts the local stack and runs Terraform on an example.
    Demo(demo::Options),
    /// Runs every suite, or the named ones: static, unit, local, provider, system, aws, deploy, kube, cluster; `kills` runs the whole kill matrix.
    Test {
        /// Which suites; all when none is named.
        suites: Vec<String>,
        /// The client of the suite `provider`: `terraform` or `tofu`.
        #[arg(long)]
        client: Option<String>,
    },
    /// Measures: `path`, `functions`, `provider`, `relay`, `agent`.
    Bench {
        /// What.
        what: String,
        /// Where the numbers go as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// Builds the functions as they are shipped: a zip each, for every architecture that this machine can build.
    Package,
    /// Makes an organization's entry for the module `deploy`, and the key of its owner, which is shown once.
    Organization {
        /// What it is called.
        name: String,
    },
    /// Makes generated code again.
    Gen {
        /// Only compares.
        #[arg(long)]
        check: bool,
    },
    /// Makes what is published: `provider`.
    Release {
        /// What.
        what: String,
    },
    /// Checks the tree's own rules: arrows, sizes, first lines, error pages, links.
    Tidy,
    /// Prints each permission of the onboarding policy with the call that needs it, and holds the one against the other.
    AuditIam,
    /// Installs by name what the demo and the tests need and is missing.
    Install {
        /// Also this client, though another is there: `tofu`.
        #[arg(long)]
        client: Option<String>,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Demo(options) => demo::run(&options),
        Task::Test { suites, client } => suites::run(&suites, client.as_deref()),
        Task::Bench { what, json } => bench::run(&what, json.as_deref()),
        Task::Package => package::run(),
        Task::Organization { name } => organization::run(&name),
        Task::Gen { check } => generate::run(check),
        Task::Release { what } => release::run(&what),
        Task::Tidy => tidy::run(),
        Task::Install { client } => install::run().map(|()| install::deny()).map(|()| kube::install()).and_then(|()| match client.as_deref() {
            None => Ok(()),
            Some("tofu") => install::tofu().map(|path| println!("OpenTofu: {}", path.display())),
            Some(other) => anyhow::bail!("there is no client `{other}` to install: `tofu`"),
        }),
        Task::AuditIam => audit::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's root: of the checkout that this runs in, which with a shared target folder need not be the one it was built in.
pub(crate) fn root() -> PathBuf {
    let running = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let manifest = running.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    manifest.parent().map(PathBuf::from).unwrap_or_default()
}
