//! Drives the real operations over the suite's ports, as workers and the sweep do, in the world's own time.
use crate::account::Customer;
use crate::twin::Emulated;
use kiven_aws::account::Account;
use kiven_durable::{Drive, Driven, NoFaults};
use kiven_model::api::{DatabaseRequest, DeletionRequest};
use kiven_model::database::Database;
use kiven_model::environment::{ConnectionSpec, Environment};
use kiven_model::operation::{Operation, OperationKind, OperationStatus};
use kiven_model::plan::PlanName;
use kiven_model::{DatabaseId, OperationId, request};
use kiven_operations::{accept_connect, accept_database, access_of, drive_any};
use kiven_ports::account::{Access, CustomerAccount, Inventory};
use kiven_ports::{Clock, Doorbell, NameClaim, Ports, Random, Records, Write};
use kiven_sim::{Odds, World};
use std::sync::Arc;
use std::time::Duration;

/// Most things that may be looked at before an operation is over.
const TURNS_MAX: u32 = 20_000;
const LEASE: Duration = Duration::from_secs(90);
const SWEEP_MS: i64 = 30_000;

pub(crate) struct Stage {
    pub(crate) ports: Arc<Emulated>,
    pub(crate) world: Arc<World>,
    connection: ConnectionSpec,
}

impl Stage {
    /// A new environment of a customer's.
    pub(crate) async fn new(seed: u64, customer: &Customer, aws: &Account) -> Self {
        let world = Arc::new(World::new(seed, Odds::none()));
        let connection = customer.connection();
        let ports = Arc::new(Emulated::new(Arc::clone(&world), aws.clone(), &connection));
        let stage = Self { ports, world, connection };
        stage.commit(vec![Write::Environment { record: Box::new(stage.world.environment()), expected: None }]).await;
        stage.world.advance_to(stage.world.now_ms() + 1000);
        stage
    }

    /// The same world through another adapter.
    pub(crate) fn with(self, aws: &Account) -> Self {
        let ports = Arc::new(Emulated::new(Arc::clone(&self.world), aws.clone(), &self.connection));
        Self { ports, ..self }
    }
    async fn commit(&self, writes: Vec<Write>) {
        self.world.records_commit(writes).await.unwrap();
    }
    pub(crate) async fn operation(&self, id: &OperationId) -> Operation {
        self.world.operation_get(id).await.unwrap().unwrap()
    }
    pub(crate) async fn environment(&self) -> Environment {
        self.world.environment_get(&self.world.environment().id).await.unwrap().unwrap()
    }
    pub(crate) async fn database(&self) -> Option<Database> {
        self.world.database_list(&self.world.environment().organization_id).await.unwrap().pop()
    }
    /// The way in, for the suite itself.
    pub(crate) async fn access(&self) -> Access {
        let environment = Environment { connection: Some(self.connection.clone()), ..self.environment().await };
        access_of(&environment, &OperationId::from_random([9; 16])).unwrap()
    }
    /// The shipped adapter.
    pub(crate) fn aws(&self) -> &Account {
        &self.ports.account().aws
    }
    /// What the account holds, as AWS says it.
    pub(crate) async fn inventory(&self) -> Inventory {
        self.aws().inventory(&self.access().await, crate::onboarding::CLUSTER).await.unwrap()
    }

    /// Accepts an operation and rings for it, as the API does.
    pub(crate) async fn accept(&self, kind: OperationKind) -> OperationId {
        let id = OperationId::from_random(Random::bits(&*self.world));
        let at = Clock::now(&*self.world);
        let environment = self.environment().await;
        let writes = match kind {
            OperationKind::Connect => accept_connect(environment, self.connection.clone(), id.clone(), at).unwrap().writes,
            OperationKind::Purge => return self.database().await.and_then(|database| database.operation_id).unwrap(),
            OperationKind::Provision => {
                let database = self.new_database();
                let claim = NameClaim::Database(database.spec.environment_id.clone(), database.spec.name.to_string());
                let owner = database.id.to_string();
                let mut writes = accept_database(&environment, database, None, kind, id.clone(), "key_test", at).unwrap().writes;
                writes.push(Write::NameTaken { claim, owner });
                writes
            }
            _ => {
                let mut database = self.database().await.unwrap();
                if kind == OperationKind::Change {
                    // Another class of nodes, one instance fewer, a larger volume.
                    (database.spec.plan, database.spec.instances, database.spec.storage_gb) = (PlanName::Premium, 2, 600);
                }
                let version = database.version;
                accept_database(&environment, database, Some(version), kind, id.clone(), "key_test", at).unwrap().writes
            }
        };
        self.commit(writes).await;
        self.world.doorbell_ring(&id, Duration::ZERO).await.unwrap();
        id
    }

    fn new_database(&self) -> Database {
        let asked = DatabaseRequest {
            name: "shop".to_owned(),
            environment_id: self.world.environment().id.to_string(),
            plan: "business".to_owned(),
            deletion_protection: Some(false),
            deletion: DeletionRequest { grace_days: Some(0), final_backup: Some(false) },
            ..DatabaseRequest::default()
        };
        let spec = request::database(&asked, &[17, 16, 15]).unwrap().into_inner();
        let id = DatabaseId::from_random(Random::bits(&*self.world));
        Database::asked(id, self.world.environment().organization_id, spec, Clock::now(&*self.world))
    }

    async fn drive(&self, id: &OperationId) {
        let how = Drive { owner: "suite".to_owned(), lease: LEASE, faults: Arc::new(NoFaults) };
        let again = match drive_any(Arc::clone(&self.ports), id, &how).await {
            Ok(Driven::Over(_) | Driven::Unknown | Driven::Armed) => return,
            Ok(Driven::Wait(after)) => after,
            Ok(Driven::Busy | Driven::Lost(_)) | Err(_) => Duration::from_secs(1),
        };
        self.world.doorbell_ring(id, again).await.unwrap();
    }

    /// Lets the world's time pass until an operation is over, or `until` says that it has seen enough.
    pub(crate) async fn run_until(&self, id: &OperationId, mut until: impl AsyncFnMut(&Operation) -> bool) -> Operation {
        for _ in 0..TURNS_MAX {
            let head = self.operation(id).await;
            if head.status.over() || until(&head).await {
                return head;
            }
            if let Some(rung) = self.world.take_ring() {
                self.drive(&rung).await;
                continue;
            }
            let now = self.world.now_ms();
            let sweep = self.world.next_due_ms().map_or(i64::MAX, |due| (due.max(now + 1) + SWEEP_MS - 1) / SWEEP_MS * SWEEP_MS);
            let ring = self.world.next_ring_ms().unwrap_or(i64::MAX);
            let next = sweep.min(ring).min(self.world.next_event_ms().max(now + 1));
            self.world.advance_to(next);
            if next == sweep {
                for due in self.world.operations_due(Clock::now(&*self.world), 10).await.unwrap() {
                    self.drive(&due).await;
                }
            }
        }
        panic!("not over after {TURNS_MAX} turns: {:?}", self.operation(id).await);
    }
    pub(crate) async fn run(&self, id: &OperationId) -> Operation {
        self.run_until(id, async |_| false).await
    }
    /// Accepts and runs to its end, whatever it is.
    pub(crate) async fn ended(&self, kind: OperationKind) -> Operation {
        let id = self.accept(kind).await;
        self.run(&id).await
    }
    /// Accepts and runs to a good end.
    pub(crate) async fn complete(&self, kind: OperationKind) -> Operation {
        let head = self.ended(kind).await;
        assert_eq!(head.status, OperationStatus::Succeeded, "{kind:?}: {:?}", head.problem);
        head
    }
    /// Lets more than a month pass without an agent that says so every 30 s.
    pub(crate) fn pass_months(&self) {
        self.world.advance_to(self.world.now_ms() + 20 * 60_000);
        self.world.agent_set(false);
        self.world.advance_to(self.world.now_ms() + 40 * 24 * 3_600_000);
        self.world.agent_set(true);
        self.world.advance_to(self.world.now_ms() + 60_000);
    }
}
