//! `kiven-agent install`: brings the pinned operator and its backup plugin into the cluster, under the customer's own rights.
//!
//! It runs as a hook of the chart, with a ServiceAccount that goes when it has succeeded. It applies what is listed in
//! `kiven_model::operators` and nothing else: fetched, checked by digest, moved to Kiven's namespace by a pure function.
//! `kiven-agent catalog` follows it and says which PostgreSQL images there are, `kiven-agent preflight` what the cluster is like.
mod apply;
mod catalog;
mod config;
mod fetch;
mod found;
mod manifest;
mod preflight;
mod present;
mod probe;

use crate::plugin_tls::{self, InSecrets};
use config::Config;
use kiven_model::names::SYSTEM_NAMESPACE;
use kiven_model::operators::{Component, newest};
use kiven_model::{Code, Problem};
pub(crate) use preflight::{KEY as PREFLIGHT_KEY, MAP as PREFLIGHT_MAP, refused_by};
use present::{Decision, Rollout};
use std::fmt::Display;
use std::process::ExitCode;

/// Trying again does not help: the Job's `podFailurePolicy` ends it.
const NO_USE: u8 = 2;

/// What the process is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Operator and plugin.
    Install,
    /// The ImageCatalog.
    Catalog,
    /// What the cluster is like.
    Preflight,
    /// The listening half of a probe.
    Listen,
}

impl Task {
    /// The subcommand of that name.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        match word {
            "install" => Some(Self::Install),
            "catalog" => Some(Self::Catalog),
            "preflight" => Some(Self::Preflight),
            "listen" => Some(Self::Listen),
            _ => None,
        }
    }
}

/// Why nothing, or not all, was installed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    /// What people have to decide.
    #[error(transparent)]
    Explained(#[from] Problem),
    /// What is not as it was pinned.
    #[error(transparent)]
    Manifest(#[from] manifest::ManifestError),
    /// What may pass.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl From<kube::Error> for InstallError {
    fn from(error: kube::Error) -> Self {
        Self::Other(error.into())
    }
}

impl InstallError {
    /// As people read it in the pod's last words: `kubectl describe` shows them.
    fn told(&self) -> Problem {
        match self {
            Self::Explained(problem) => problem.clone(),
            Self::Manifest(error) => Problem::new(Code::MANIFEST_DIFFERS, error.to_string())
                .detail(std::error::Error::source(error).map_or_else(String::new, ToString::to_string))
                .hint("Nothing was applied. Compare the mirror with the origin; a proxy may have answered in its place."),
            Self::Other(error) => Problem::new(Code::INSTALL_FAILED, "the operator could not be installed").detail(format!("{error:#}")),
        }
    }
}

/// Runs a task to its end, and says on the way out what happened.
pub(crate) async fn run(task: Task, lookup: impl Fn(&str) -> Option<String>) -> ExitCode {
    let ended = match Config::parse(lookup) {
        Ok(config) => attempt(task, &config).await,
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let problem = error.told();
            tracing::error!(code = %problem.code, detail = problem.detail, hint = problem.hint, "{}", problem.message);
            if matches!(error, InstallError::Other(_)) { ExitCode::FAILURE } else { ExitCode::from(NO_USE) }
        }
    }
}

async fn attempt(task: Task, config: &Config) -> Result<(), InstallError> {
    if task == Task::Listen {
        return Ok(probe::listen().await?);
    }
    let client = kube::Client::try_default().await.map_err(|error| anyhow::Error::new(error).context("the API server cannot be configured"))?;
    match task {
        Task::Install => install(&client, config).await,
        Task::Catalog => Ok(catalog::apply(&client, config).await?),
        Task::Preflight => Ok(preflight::look(&client, config).await?),
        Task::Listen => Ok(()),
    }
}

async fn install(client: &kube::Client, config: &Config) -> Result<(), InstallError> {
    let found = found::look(client).await?;
    match present::decide(&found, config.operator_namespace.as_deref())? {
        Decision::Use { namespace, operator, plugin } => {
            apply::label_namespace(client, &namespace).await?;
            say("the operator that is there is used", &format!("CloudNativePG {operator} and plugin {plugin} in {namespace}"));
            Ok(())
        }
        Decision::Install { operator, plugin } => {
            install_one(client, config, Component::Operator, operator).await?;
            // Before the plugin's pod wants to mount them.
            plugin_tls::look(&InSecrets::create(client), crate::now()).await?;
            install_one(client, config, Component::Plugin, plugin).await?;
            for component in Component::ALL {
                apply::await_ready(client, component, config.wait).await?;
            }
            Ok(())
        }
    }
}

async fn install_one(client: &kube::Client, config: &Config, component: Component, rollout: Rollout) -> Result<(), InstallError> {
    let Some(release) = newest(component) else { return Ok(()) };
    let bytes = fetch::fetch(&release.url_on(config.mirror.as_deref())).await?;
    let documents = manifest::read(release, &bytes)?;
    let placement =
        manifest::Placement { namespace: SYSTEM_NAMESPACE, registry: config.registry.as_deref(), pull_secrets: &config.image_pull_secrets };
    let mut objects = manifest::place(release, documents, &placement)?;
    if let Rollout::Keep(version) = &rollout {
        // What runs is moved by the agent, in a maintenance window; its webhooks are those of its own version.
        objects.retain(|object| !manifest::belongs_to_the_version(object));
        say("the running version is kept until a maintenance window", &format!("{component} {version}"));
    }
    let count = objects.len();
    apply::apply(client, objects).await?;
    say("installed", &format!("{component} {}: {count} objects", release.version));
    Ok(())
}

fn say(what: &str, which: &dyn Display) {
    tracing::info!(which = %which, "{what}");
}
