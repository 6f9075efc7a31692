//! A lane: one stack on which cells run one after another, with a database of two instances that is paused and resumed.
use crate::matrix::{Cell, Operation, Strike};
use anyhow::{Context, bail, ensure};
use kiven_model::api::{DatabaseRequest, DatabaseView};
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::operation::EventKind;
use kiven_model::{DatabaseId, OperationId};
use kiven_tests::customer::{OPERATION_MAX, database_request};
use kiven_tests::{Customer, Stack, processes, within};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How many databases of provision cells may be there before they are deleted together.
const LEFTOVERS_MAX: usize = 5;
/// How long what follows an operation may take: processes that end, pods that are listed.
const SETTLE_MAX: Duration = Duration::from_secs(10);
/// How long a step is waited for.
const STEP_PACE: Duration = Duration::from_millis(10);
/// How long a postmaster is waited for.
const POSTMASTER_MAX: Duration = Duration::from_secs(10);
const IDENTIFIER: &str = "select system_identifier from pg_control_system()";

type Census = BTreeMap<String, usize>;

/// A lane.
pub struct Lane {
    pub stack: Stack,
    customer: Customer,
    home: DatabaseView,
    home_census: Census,
    home_volumes: Vec<(String, String, String)>,
    new_census: Census,
    rows: u32,
    pub on: bool,
    leftovers: Vec<DatabaseId>,
    made: u32,
}

/// How a cell that held ended.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// From the operation's beginning to its success.
    pub seconds: f64,
    /// Whether the victim was struck: a failpoint that needs luck may not be passed.
    pub struck: bool,
}

impl Lane {
    /// Starts a stack; measures what an undisturbed database of each kind has.
    pub async fn open(label: &str) -> anyhow::Result<Self> {
        let stack = Stack::start(label).await?;
        match Self::furnish(&stack).await {
            Ok((customer, home, home_volumes, home_census, new_census, leftovers)) => {
                Ok(Self { stack, customer, home, home_census, home_volumes, new_census, rows: 0, on: true, leftovers, made: 0 })
            }
            Err(error) => bail!("{error:#}\n{}", stack.tail()),
        }
    }

    async fn furnish(stack: &Stack) -> anyhow::Result<(Customer, DatabaseView, Vec<(String, String, String)>, Census, Census, Vec<DatabaseId>)> {
        let customer = Customer::connect(stack).await?;
        let (home, operation) = customer.ask(&database_request(&customer.environment, "home", 2)).await?;
        customer.succeed(&operation).await?;
        let (new, other) = customer.ask(&database_request(&customer.environment, "reference", 1)).await?;
        customer.succeed(&other).await?;
        let home = customer.client.database_claim(&home.id).await?;
        customer.query(&home, "create table kept (row int primary key)").await?;
        let volumes = customer.volumes(&home).await?;
        let (home_census, new_census) = (customer.census(&home).await?, customer.census(&new).await?);
        ensure!(
            new_census.get("clusters") == Some(&1) && new_census.get("persistentvolumeclaims") == Some(&1),
            "the census is blind: {new_census:?}"
        );
        ensure!(
            new_census.get("node groups").is_some_and(|groups| *groups > 0) && volumes.len() == 2,
            "the census is blind: {new_census:?}, {volumes:?}"
        );
        Ok((customer, home, volumes, home_census, new_census, vec![new.id]))
    }

    /// Runs one cell.
    pub async fn run(&mut self, cell: &Cell) -> anyhow::Result<Held> {
        match cell.operation {
            Operation::Provision => self.provision(cell).await,
            Operation::Pause => {
                self.power(true).await.context("getting ready")?;
                self.pause(cell).await
            }
            Operation::Resume => {
                self.power(false).await.context("getting ready")?;
                self.resume(cell).await
            }
            Operation::Apply => bail!("Terraform has a lane of its own"),
        }
    }

    async fn provision(&mut self, cell: &Cell) -> anyhow::Result<Held> {
        if self.leftovers.len() >= LEFTOVERS_MAX {
            self.customer.delete(&self.leftovers).await.context("deleting the databases of earlier cells")?;
            self.leftovers.clear();
        }
        self.made += 1;
        let request = database_request(&self.customer.environment, &format!("cell{}", self.made), 1);
        self.arm(cell)?;
        let began = Instant::now();
        let (database, operation) = self.customer.ask(&request).await?;
        self.leftovers.push(database.id.clone());
        let held = self.strike_and_follow(cell, &database, &operation, began).await?;
        let database = self.customer.client.database_get(&database.id).await?;
        self.answers(&database).await?;
        self.unchanged(&request, &database).await?;
        let census = self.new_census.clone();
        self.counted(&database, &census).await?;
        Ok(held)
    }

    async fn pause(&mut self, cell: &Cell) -> anyhow::Result<Held> {
        self.write_row().await?;
        self.arm(cell)?;
        let began = Instant::now();
        let operation = self.customer.power(&self.home.id, false).await?;
        let held = self.strike_and_follow(cell, &self.home.clone(), &operation, began).await?;
        self.paused().await?;
        Ok(held)
    }

    async fn resume(&mut self, cell: &Cell) -> anyhow::Result<Held> {
        self.arm(cell)?;
        let began = Instant::now();
        let operation = self.customer.power(&self.home.id, true).await?;
        let held = self.strike_and_follow(cell, &self.home.clone(), &operation, began).await?;
        self.resumed().await?;
        Ok(held)
    }

    /// Power as wanted, undisturbed; everything a pause or a resume promises is looked at here too.
    pub async fn power(&mut self, on: bool) -> anyhow::Result<()> {
        if self.on == on {
            return Ok(());
        }
        if !on {
            self.write_row().await?;
        }
        let operation = self.customer.power(&self.home.id, on).await?;
        self.customer.succeed(&operation).await?;
        if on { self.resumed().await } else { self.paused().await }
    }

    async fn write_row(&mut self) -> anyhow::Result<()> {
        self.rows += 1;
        self.customer.query(&self.home, &format!("insert into kept values ({})", self.rows)).await.map(drop)
    }

    async fn paused(&mut self) -> anyhow::Result<()> {
        let view = self.customer.client.database_get(&self.home.id).await?;
        ensure!(view.status == DatabaseStatus::Paused, "the database is {}", view.status);
        let volumes: Vec<String> = self.home_volumes.iter().map(|(_, _, volume)| volume.clone()).collect();
        let stopped = within(SETTLE_MAX, async || self.postmasters(&volumes).is_empty()).await;
        ensure!(stopped, "PostgreSQL runs while paused: {:?}", self.postmasters(&volumes));
        let there = self.customer.volumes(&self.home).await?;
        ensure!(there == self.home_volumes, "the volumes are {there:?}, they were {:?}", self.home_volumes);
        self.on = false;
        Ok(())
    }

    async fn resumed(&mut self) -> anyhow::Result<()> {
        let view = self.customer.client.database_get(&self.home.id).await?;
        ensure!(view.status == DatabaseStatus::Available, "the database is {}", view.status);
        self.answers(&view).await?;
        ensure!(view.system_identifier == self.home.system_identifier, "another system identifier");
        let rows = self.customer.query(&view, "select count(*) from kept").await?;
        ensure!(rows == self.rows.to_string(), "{rows} rows are there, {} were written", self.rows);
        let there = self.customer.volumes(&self.home).await?;
        ensure!(there == self.home_volumes, "the volumes are {there:?}, they were {:?}", self.home_volumes);
        let request = database_request(&self.customer.environment, "home", 2);
        self.unchanged(&request, &view).await?;
        let census = self.home_census.clone();
        self.counted(&view, &census).await?;
        self.on = true;
        Ok(())
    }

    /// PostgreSQL answers with the identifier that the record says.
    async fn answers(&self, database: &DatabaseView) -> anyhow::Result<()> {
        ensure!(database.status == DatabaseStatus::Available, "the database is {}", database.status);
        let identifier = self.customer.query(database, IDENTIFIER).await?;
        ensure!(Some(&identifier) == database.system_identifier.as_ref(), "{identifier} answers, {:?} is recorded", database.system_identifier);
        Ok(())
    }

    /// The same request again changes nothing and starts nothing: the next plan is clean.
    async fn unchanged(&self, request: &DatabaseRequest, database: &DatabaseView) -> anyhow::Result<()> {
        let again = self.customer.client.database_put(&database.id, request).await?;
        ensure!(again == *database, "the same request again changed the database:\n{again:?}\n{database:?}");
        Ok(())
    }

    /// Nothing is there twice, and nothing is missing.
    async fn counted(&self, database: &DatabaseView, wanted: &Census) -> anyhow::Result<()> {
        let settled = within(SETTLE_MAX, async || self.customer.census(database).await.is_ok_and(|census| census == *wanted)).await;
        ensure!(settled, "an undisturbed one has {wanted:?}, this one {:?}", self.customer.census(database).await?);
        Ok(())
    }

    fn postmasters(&self, volumes: &[String]) -> Vec<processes::Process> {
        let of =
            |process: &processes::Process| process.command.contains(" -D ") && volumes.iter().any(|volume| process.command.contains(volume.as_str()));
        self.stack.processes("postgres").into_iter().filter(of).collect()
    }

    fn arm(&self, cell: &Cell) -> anyhow::Result<()> {
        match &cell.strike {
            Strike::Armed(failpoints) => failpoints.iter().try_for_each(|failpoint| self.stack.arm(failpoint)),
            Strike::ArmedAtStep(_) | Strike::Program(_) | Strike::Stack | Strike::Postmaster => Ok(()),
        }
    }

    /// Strikes the victim, follows the operation to its success, and says whether the victim was struck.
    async fn strike_and_follow(&mut self, cell: &Cell, database: &DatabaseView, operation: &OperationId, began: Instant) -> anyhow::Result<Held> {
        let mut struck = true;
        match &cell.strike {
            Strike::Armed(_) => {}
            Strike::ArmedAtStep(failpoint) => {
                self.step_begun(cell.step, operation).await?;
                self.stack.arm(failpoint)?;
            }
            Strike::Program(name) => {
                self.step_begun(cell.step, operation).await?;
                struck = self.stack.kill_all(name) > 0;
            }
            Strike::Stack => {
                self.step_begun(cell.step, operation).await?;
                self.stack.restart().await?;
            }
            Strike::Postmaster => {
                self.step_begun(cell.step, operation).await?;
                struck = self.strike_postmaster(database).await?;
            }
        }
        let followed = self.customer.succeed(operation).await;
        let seconds = began.elapsed().as_secs_f64();
        match &cell.strike {
            Strike::Armed(failpoints) => {
                let left: Vec<&String> = failpoints.iter().filter(|failpoint| self.stack.disarm(failpoint)).collect();
                struck = left.is_empty();
                followed?;
                ensure!(left.first() != failpoints.first().as_ref(), "the failpoint {left:?} was never passed");
            }
            Strike::ArmedAtStep(failpoint) => {
                struck = !self.stack.disarm(failpoint);
                followed?;
            }
            Strike::Program(_) | Strike::Stack | Strike::Postmaster => drop(followed?),
        }
        Ok(Held { seconds, struck })
    }

    async fn strike_postmaster(&self, database: &DatabaseView) -> anyhow::Result<bool> {
        let deadline = Instant::now() + POSTMASTER_MAX;
        while Instant::now() < deadline {
            let volumes: Vec<String> =
                self.customer.volumes(database).await?.into_iter().map(|(_, _, volume)| volume).filter(|volume| !volume.is_empty()).collect();
            if let Some(postmaster) = self.postmasters(&volumes).first() {
                processes::kill(postmaster.pid);
                return Ok(true);
            }
            tokio::time::sleep(STEP_PACE).await;
        }
        Ok(false)
    }

    /// Waits until a step has begun.
    async fn step_begun(&self, step: &str, operation: &OperationId) -> anyhow::Result<()> {
        let deadline = Instant::now() + OPERATION_MAX;
        while Instant::now() < deadline {
            let view = self.customer.client.operation_get(operation).await?;
            let begun = |event: &kiven_model::operation::OperationEvent| {
                event.kind == EventKind::StepStarted && event.step.as_deref().is_some_and(|name| name.split('/').next() == Some(step))
            };
            if view.events.iter().any(begun) {
                return Ok(());
            }
            ensure!(!view.status.over(), "the {} is over without the step {step}: {:?}", view.kind.as_str(), view.problem);
            tokio::time::sleep(STEP_PACE).await;
        }
        bail!("the step {step} has not begun within {OPERATION_MAX:?}")
    }
}
