//! The lane of disconnects: an environment that is connected, left and connected again.
use crate::lane::{IDENTIFIER, SETTLE_MAX};
use crate::matrix::{Cell, Operation};
use crate::strike::{Hand, Held, arm};
use anyhow::{Context, ensure};
use kiven_model::api::DatabaseView;
use kiven_model::environment::{EnvironmentStatus, Farewell};
use kiven_model::lifecycle::DatabaseStatus;
use kiven_tests::customer::{connection_request, database_request};
use kiven_tests::{Customer, Stack, within};
use std::time::Instant;

/// Most databases that one stack sees.
const DATABASES_MAX: u32 = 6;

/// A stack whose customer comes and goes.
pub struct Leaving {
    pub stack: Stack,
    customer: Customer,
    connected: bool,
    /// The last database that was released: what comes later does not touch it.
    released: Option<DatabaseView>,
    made: u32,
}

impl Leaving {
    /// Starts a stack and connects its environment.
    pub async fn open() -> anyhow::Result<Self> {
        let stack = Stack::start("killsleaving").await?;
        let customer = Customer::connect(&stack).await?;
        Ok(Self { stack, customer, connected: true, released: None, made: 0 })
    }

    /// Whether so many released databases run on that they slow down what comes next.
    pub fn is_crowded(&self) -> bool {
        self.made >= DATABASES_MAX
    }

    /// Runs one cell.
    pub async fn run(&mut self, cell: &Cell) -> anyhow::Result<Held> {
        let farewell = if cell.operation == Operation::Release { Farewell::Release } else { Farewell::Destroy };
        let environment = self.customer.environment.clone();
        if !self.connected {
            let connected = self.customer.client.connection_put(&environment, &connection_request()).await?;
            self.customer.prepare(&connected.operation_id.context("the connect has no operation")?).await.context("connecting again")?;
            self.connected = true;
        }
        self.made += 1;
        let (asked, operation) = self.customer.ask(&database_request(&environment, &format!("cell{}", self.made), 1)).await?;
        self.customer.prepare(&operation).await.context("getting ready")?;
        let database = self.customer.client.database_get(&asked.id).await?;
        let (census, volumes) = (self.customer.census(&database).await?, self.customer.volumes(&database).await?);

        arm(&self.stack, cell)?;
        let began = Instant::now();
        let left = self.customer.client.connection_delete(&environment, Some(farewell)).await?;
        let operation = left.operation_id.context("the disconnect has no operation")?;
        let held = Hand { stack: &mut self.stack, customer: &self.customer }.strike_and_follow(cell, &database, &operation, began).await?;
        self.connected = false;

        let view = self.customer.client.environment_get(&environment).await?;
        ensure!(view.status == EnvironmentStatus::Created && view.connection.is_none(), "the environment is {:?}", view.status);
        let stopped = within(SETTLE_MAX, async || self.stack.processes("kiven-agent").is_empty()).await;
        ensure!(stopped, "the agent runs on");
        let after = self.customer.client.database_get(&database.id).await?;
        match farewell {
            Farewell::Release => {
                ensure!(after.status == DatabaseStatus::Released, "the database is {}", after.status);
                let (now, there) = (self.customer.census(&database).await?, self.customer.volumes(&database).await?);
                ensure!(now == census && there == volumes, "it was {census:?} on {volumes:?} and is {now:?} on {there:?}");
                self.released = Some(database);
            }
            Farewell::Destroy => {
                ensure!(after.status == DatabaseStatus::Deleted, "the database is {}", after.status);
                let now = self.customer.census(&database).await?;
                ensure!(now.iter().all(|(kind, count)| kind == "buckets" || *count == 0), "left: {now:?}");
            }
        }
        if let Some(database) = &self.released {
            let identifier = self.customer.query(database, IDENTIFIER).await?;
            ensure!(Some(&identifier) == database.system_identifier.as_ref(), "a released database answers as {identifier}");
        }
        Ok(held)
    }
}
