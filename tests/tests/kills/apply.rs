//! Terraform's lane: Terraform or the provider is killed during an apply; the next one adopts and the plan is clean.
use crate::matrix::{Cell, Strike};
use crate::strike::Held;
use anyhow::{Context, bail, ensure};
use kiven_client::Client;
use kiven_model::operation::EventKind;
use kiven_tests::{Stack, Terraform};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long the moment to strike is waited for.
const MOMENT_MAX: Duration = Duration::from_secs(60);
const PACE: Duration = Duration::from_millis(10);

/// A stack with a module.
pub struct Module {
    pub stack: Stack,
    terraform: Terraform,
    client: Client,
    program: PathBuf,
}

impl Module {
    /// Starts a stack and initialises the quickstart.
    pub async fn open(program: PathBuf) -> anyhow::Result<Self> {
        let stack = Stack::start("apply").await?;
        let terraform = Terraform::quickstart(program.clone(), &stack).await?;
        Ok(Self { client: stack.client()?, terraform, stack, program })
    }

    /// Runs one cell: from nothing to nothing.
    pub async fn run(&self, cell: &Cell) -> anyhow::Result<Held> {
        let Strike::Program(program) = cell.strike else { bail!("only programs are struck here") };
        // Under whatever name Terraform is installed.
        let own = self.program.file_name().and_then(|name| name.to_str()).unwrap_or(program).to_owned();
        let victim = if cell.victim == "terraform" { own.as_str() } else { program };
        let known: Vec<_> = self.client.operation_list(None).await?.into_iter().map(|operation| operation.id).collect();
        let began = Instant::now();
        let mut apply = self.terraform.spawn(&["apply", "-auto-approve", "-input=false"])?;
        let moment = self.moment(cell.step, &known).await;
        let struck = self.stack.kill_all(victim) > 0;
        let ended = apply.wait().await?;
        moment.with_context(|| std::fs::read_to_string(self.terraform.folder.join("spawned.log")).unwrap_or_default())?;
        ensure!(struck && !ended.success(), "{victim} was not struck: {ended}");
        self.terraform.apply("on").await.context("the apply after the kill")?;
        let seconds = began.elapsed().as_secs_f64();
        self.terraform.clean("on").await?;
        let (environments, databases) = (self.client.environment_list().await?.len(), self.client.database_list(None).await?.len());
        ensure!((environments, databases) == (1, 1), "{environments} environments and {databases} databases are there");
        self.terraform.ok(&["destroy", "-auto-approve", "-input=false"]).await?;
        ensure!(self.client.database_list(None).await?.is_empty() && self.client.environment_list().await?.is_empty(), "destroy left something");
        Ok(Held { seconds, struck })
    }

    /// Waits until a step of a new operation has begun; `when` is `kind: step`.
    async fn moment(&self, when: &str, known: &[kiven_model::OperationId]) -> anyhow::Result<()> {
        let (kind, step) = when.split_once(": ").context("not of the form `kind: step`")?;
        let deadline = Instant::now() + MOMENT_MAX;
        while Instant::now() < deadline {
            for operation in self.client.operation_list(None).await? {
                if operation.kind.as_str() != kind || known.contains(&operation.id) {
                    continue;
                }
                let view = self.client.operation_get(&operation.id).await?;
                if view.events.iter().any(|event| event.kind == EventKind::StepStarted && event.step.as_deref() == Some(step)) {
                    return Ok(());
                }
                ensure!(!view.status.over(), "the {kind} is over without the step {step}: {:?}", view.problem);
            }
            tokio::time::sleep(PACE).await;
        }
        bail!("{when} has not begun within {MOMENT_MAX:?}")
    }
}
