//! A lane: one stack on which cells run one after another, with a database of two instances that is paused and resumed.
use crate::matrix::{Cell, Operation, Strike};
use crate::strike::{Hand, Held, arm, postmasters};
use anyhow::{Context, bail, ensure};
use kiven_model::api::{DatabaseRequest, DatabaseView};
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::{DatabaseId, OperationId};
use kiven_tests::customer::database_request;
use kiven_tests::{Customer, Stack, within};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How many databases of provision cells may be there before they are deleted together.
const LEFTOVERS_MAX: usize = 5;
/// How long what follows an operation may take: processes that end, pods that are listed.
pub(crate) const SETTLE_MAX: Duration = Duration::from_secs(10);
pub(crate) const IDENTIFIER: &str = "select system_identifier from pg_control_system()";

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
        customer.prepare(&operation).await?;
        let (new, other) = customer.ask(&database_request(&customer.environment, "reference", 1)).await?;
        customer.prepare(&other).await?;
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
            Operation::Release | Operation::Destroy | Operation::Apply => bail!("it has a lane of its own"),
        }
    }

    async fn provision(&mut self, cell: &Cell) -> anyhow::Result<Held> {
        if self.leftovers.len() >= LEFTOVERS_MAX {
            self.customer.delete(&self.leftovers).await.context("deleting the databases of earlier cells")?;
            self.leftovers.clear();
        }
        self.made += 1;
        let request = database_request(&self.customer.environment, &format!("cell{}", self.made), 1);
        arm(&self.stack, cell)?;
        let began = Instant::now();
        let (database, operation) = self.customer.ask(&request).await?;
        self.leftovers.push(database.id.clone());
        let held = self.hand().strike_and_follow(cell, &database, &operation, began).await?;
        let database = self.customer.client.database_get(&database.id).await?;
        self.recovered(cell, &database).await?;
        self.answers(&database).await?;
        self.unchanged(&request, &database).await?;
        let census = self.new_census.clone();
        self.counted(&database, &census).await?;
        Ok(held)
    }

    async fn pause(&mut self, cell: &Cell) -> anyhow::Result<Held> {
        self.write_row().await?;
        arm(&self.stack, cell)?;
        let began = Instant::now();
        let operation = self.customer.power(&self.home.id, false).await?;
        let held = self.strike_home(cell, &operation, began).await?;
        self.paused().await?;
        Ok(held)
    }

    async fn resume(&mut self, cell: &Cell) -> anyhow::Result<Held> {
        arm(&self.stack, cell)?;
        let began = Instant::now();
        let operation = self.customer.power(&self.home.id, true).await?;
        let held = self.strike_home(cell, &operation, began).await?;
        self.recovered(cell, &self.home).await?;
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
        self.customer.prepare(&operation).await?;
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
        let stopped = within(SETTLE_MAX, async || postmasters(&self.stack, &volumes).is_empty()).await;
        ensure!(stopped, "PostgreSQL runs while paused: {:?}", postmasters(&self.stack, &volumes));
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

    /// A postmaster that was struck may have outlived its operation's last question: then it still starts when that is over.
    async fn recovered(&self, cell: &Cell, database: &DatabaseView) -> anyhow::Result<()> {
        if cell.strike == Strike::Postmaster {
            let answered = within(SETTLE_MAX, async || self.customer.query(database, IDENTIFIER).await.is_ok()).await;
            ensure!(answered, "the server that was struck has not come back within {SETTLE_MAX:?}");
        }
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

    async fn strike_home(&mut self, cell: &Cell, operation: &OperationId, began: Instant) -> anyhow::Result<Held> {
        let home = self.home.clone();
        self.hand().strike_and_follow(cell, &home, operation, began).await
    }

    fn hand(&mut self) -> Hand<'_> {
        Hand { stack: &mut self.stack, customer: &self.customer }
    }
}
