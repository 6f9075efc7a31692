//! Drives operations through a simulated world as workers and the sweep do, and says what a complete world is.
#![allow(dead_code)] // each test binary uses its own part
use kiven_durable::{Drive, Driven, Faults, Hit, NoFaults, Point};
use kiven_model::api::{DatabaseRequest, DeletionRequest};
use kiven_model::database::Database;
use kiven_model::environment::{EnvironmentStatus, Farewell};
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::operation::{Operation, OperationKind, OperationStatus, StepRecord, Subject};
use kiven_model::operators::Component;
use kiven_model::plan::PlanName;
use kiven_model::upgrade::ComponentMove;
use kiven_model::{DatabaseId, OperationId, request};
use kiven_operations::{accept_connect, accept_database, accept_disconnect, accept_undelete, accept_upgrade, drive_any};
use kiven_ports::{Clock, NameClaim, PortError, Random, Records, Write};
use kiven_sim::{Odds, Snapshot, World, block_on};
use std::sync::Arc;
use std::time::Duration;

/// Most drives that an operation may take, busy ones not counted.
pub(crate) const DRIVES_MAX: u32 = 1500;
/// Most things that may be looked at before an operation is over.
const TURNS_MAX: u32 = 100_000;
const LEASE: Duration = Duration::from_secs(90);
const SWEEP_MS: i64 = 30_000;
/// Until everything that an operation has started is at rest.
const REST_MS: i64 = 20 * 60_000;

pub(crate) struct Stage {
    pub(crate) world: Arc<World>,
    pub(crate) faults: Arc<dyn Faults>,
    pub(crate) drives: u32,
    /// What a disconnect does.
    pub(crate) farewell: Farewell,
}

pub(crate) fn now<F: Future>(future: F) -> F::Output {
    block_on(future).expect("the world never waits")
}

impl Stage {
    pub(crate) fn new(seed: u64, odds: Odds) -> Self {
        let world = Arc::new(World::new(seed, Odds::none()));
        now(world.records_commit(vec![Write::Environment { record: Box::new(world.environment()), expected: None }])).unwrap();
        world.advance_to(world.now_ms() + 1000);
        world.odds_set(odds);
        Self { world, faults: Arc::new(NoFaults), drives: 0, farewell: Farewell::Release }
    }

    /// Asks until a port that fails now and then has answered; test code only.
    pub(crate) fn ask<T>(&self, mut call: impl FnMut() -> Result<T, PortError>) -> T {
        for _ in 0..100 {
            match call() {
                Ok(answer) => return answer,
                Err(PortError::Retry { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        panic!("a port never answered")
    }
    pub(crate) fn operation(&self, id: &OperationId) -> Operation {
        self.ask(|| now(self.world.operation_get(id))).expect("the operation is there")
    }
    pub(crate) fn steps(&self, id: &OperationId) -> Vec<StepRecord> {
        self.ask(|| now(self.world.operation_steps(id)))
    }
    pub(crate) fn database(&self) -> Option<Database> {
        let organization = self.world.environment().organization_id;
        self.ask(|| now(self.world.database_list(&organization))).pop()
    }
    pub(crate) fn environment(&self) -> kiven_model::environment::Environment {
        self.ask(|| now(self.world.environment_get(&self.world.environment().id))).expect("the environment is there")
    }
    pub(crate) fn name_is_free(&self, database: &Database) -> bool {
        let claim = NameClaim::Database(database.spec.environment_id.clone(), database.spec.name.to_string());
        self.ask(|| now(self.world.name_owner(&claim))).is_none()
    }

    /// Accepts an operation and rings for it, as the API does. `None`: the state does not allow it.
    pub(crate) fn accept(&self, kind: OperationKind, grace_days: u32) -> Option<OperationId> {
        let id = OperationId::from_random(Random::bits(&*self.world));
        let at = Clock::now(&*self.world);
        let environment = self.environment();
        let writes = match kind {
            OperationKind::Connect => accept_connect(environment, self.world.connection(), id.clone(), at).unwrap().writes,
            OperationKind::Disconnect => accept_disconnect(environment, self.farewell, id.clone(), "key_test", at).unwrap().writes,
            OperationKind::Upgrade => accept_upgrade(environment, moves(), id.clone(), at).ok()?.writes,
            OperationKind::Purge => return self.database().and_then(|database| database.operation_id),
            OperationKind::Provision => {
                let database = self.new_database(grace_days);
                let claim = NameClaim::Database(database.spec.environment_id.clone(), database.spec.name.to_string());
                let owner = database.id.to_string();
                let mut writes = accept_database(&environment, database, None, kind, id.clone(), "key_test", at).unwrap().writes;
                writes.push(Write::NameTaken { claim, owner });
                writes
            }
            OperationKind::Undelete => {
                let database = self.database()?;
                let purge = self.operation(database.operation_id.as_ref()?);
                accept_undelete(&environment, database, purge, id.clone(), "key_test", at).ok()?.writes
            }
            OperationKind::Pause
            | OperationKind::Resume
            | OperationKind::Delete
            | OperationKind::Change
            | OperationKind::PatchNodes
            | OperationKind::RotateCertificates => {
                let mut database = self.database()?;
                if kind == OperationKind::Change {
                    // Another class of nodes, one instance fewer, a larger volume.
                    (database.spec.plan, database.spec.instances, database.spec.storage_gb) = (PlanName::Premium, 2, 600);
                }
                let version = database.version;
                accept_database(&environment, database, Some(version), kind, id.clone(), "key_test", at).ok()?.writes
            }
        };
        self.quietly(writes);
        now(kiven_ports::Doorbell::doorbell_ring(&*self.world, &id, Duration::ZERO)).ok();
        Some(id)
    }
    /// Commits what the test itself writes, while nothing goes wrong.
    pub(crate) fn quietly(&self, writes: Vec<Write>) {
        let before = self.world.odds();
        self.world.odds_set(Odds::none());
        now(self.world.records_commit(writes)).unwrap();
        self.world.odds_set(before);
    }
    /// Writes a database behind Kiven's back.
    pub(crate) fn database_put(&self, database: Database) {
        let expected = database.version;
        let record = Database { version: expected + 1, ..database };
        self.quietly(vec![Write::Database { record: Box::new(record), expected: Some(expected) }]);
    }
    fn new_database(&self, grace_days: u32) -> Database {
        let asked = DatabaseRequest {
            name: "shop".to_owned(),
            environment_id: self.world.environment().id.to_string(),
            plan: "business".to_owned(),
            deletion_protection: Some(false),
            deletion: DeletionRequest { grace_days: Some(grace_days), final_backup: Some(false) },
            ..DatabaseRequest::default()
        };
        let at = Clock::now(&*self.world);
        let spec = request::database(&asked, &[17, 16, 15]).expect("the request is valid").into_inner();
        Database::asked(DatabaseId::from_random(Random::bits(&*self.world)), self.world.environment().organization_id, spec, at)
    }

    /// One ring: a drive, and what a worker makes of its outcome.
    pub(crate) fn drive(&mut self, id: &OperationId) {
        let owner = format!("{:02x?}", &Random::bits(&*self.world)[..4]);
        let how = Drive { owner, lease: LEASE, faults: Arc::clone(&self.faults) };
        for _ in 0..3 {
            let again = match now(drive_any(Arc::clone(&self.world), id, &how)) {
                Ok(Driven::Over(_) | Driven::Unknown | Driven::Armed) => return,
                Ok(Driven::Wait(after)) => after,
                Ok(Driven::Busy) => Duration::from_secs(1),
                Ok(Driven::Lost(why)) if why == "crashed" => return, // nobody is left to ring
                Ok(Driven::Lost(_)) => continue,
                Err(_) => Duration::from_secs(1),
            };
            self.drives += u32::from(again != Duration::from_secs(1));
            now(kiven_ports::Doorbell::doorbell_ring(&*self.world, id, again)).ok();
            return;
        }
        now(kiven_ports::Doorbell::doorbell_ring(&*self.world, id, Duration::from_secs(1))).ok();
    }

    /// Lets time pass until an operation is over.
    pub(crate) fn run(&mut self, id: &OperationId) -> Operation {
        self.run_for(id, i64::MAX)
    }
    /// Lets time pass until an operation is over, or for so long.
    pub(crate) fn run_for(&mut self, id: &OperationId, ms: i64) -> Operation {
        self.drives = 0;
        let until = self.world.now_ms().saturating_add(ms);
        for _ in 0..TURNS_MAX {
            let head = self.operation(id);
            if head.status.over() || self.world.now_ms() >= until {
                return head;
            }
            assert!(self.drives < DRIVES_MAX, "{:?} {:?} takes too many drives; problem {:?}", head.kind, head.current_step, head.problem);
            if let Some(rung) = self.world.take_ring() {
                self.drive(&rung);
                continue;
            }
            let sweep = self.world.next_due_ms().map_or(i64::MAX, |due| (due.max(self.world.now_ms() + 1) + SWEEP_MS - 1) / SWEEP_MS * SWEEP_MS);
            let ring = self.world.next_ring_ms().unwrap_or(i64::MAX);
            let until = sweep.min(ring).min(self.world.next_event_ms().max(self.world.now_ms() + 1));
            self.world.advance_to(until);
            if until == sweep {
                let due = now(self.world.operations_due(Clock::now(&*self.world), 10)).unwrap_or_default();
                due.iter().for_each(|due| self.drive(due));
            }
        }
        panic!("not over after {TURNS_MAX} turns: {:?}", self.operation(id));
    }
    /// Lets more than a month pass, without an agent that says so every 30 s: a newer machine image is out then.
    pub(crate) fn pass_months(&self) {
        self.settle();
        self.world.agent_set(false);
        self.world.advance_to(self.world.now_ms() + 40 * 24 * 3_600_000);
        self.world.agent_set(true);
    }
    pub(crate) fn settle(&self) -> Snapshot {
        self.world.advance_to(self.world.now_ms() + REST_MS);
        self.world.snapshot()
    }
    /// Accepts and runs to a good end.
    pub(crate) fn complete(&mut self, kind: OperationKind) -> OperationId {
        let id = self.accept(kind, 0).expect("it is allowed");
        let head = self.run(&id);
        assert_eq!(head.status, OperationStatus::Succeeded, "{kind:?}: {:?}", head.problem);
        id
    }
}

/// What an upgrade of a stage moves.
pub(crate) fn moves() -> Vec<ComponentMove> {
    vec![ComponentMove { component: Component::Operator, from: "1.29.1".to_owned(), version: "1.29.2".to_owned() }]
}

/// What comes before an operation in a life.
pub(crate) fn before(kind: OperationKind) -> &'static [OperationKind] {
    use OperationKind::{Change, Connect, Delete, Disconnect, PatchNodes, Pause, Provision, Purge, Resume, RotateCertificates, Undelete, Upgrade};
    match kind {
        Connect => &[],
        Provision => &[Connect],
        Pause | Delete | Change | PatchNodes | RotateCertificates | Disconnect | Upgrade => &[Connect, Provision],
        Resume => &[Connect, Provision, Pause],
        Purge | Undelete => &[Connect, Provision, Delete],
    }
}

/// A stage on which an operation of this kind can begin, and the world as it is then.
pub(crate) fn stage(kind: OperationKind, seed: u64) -> (Stage, Snapshot) {
    let mut stage = Stage::new(seed, Odds::none());
    if kind == OperationKind::Upgrade {
        stage.world.operator_set("1.29.1");
    }
    for earlier in before(kind) {
        stage.complete(*earlier);
    }
    if kind == OperationKind::PatchNodes {
        stage.pass_months();
    }
    // The purge is due at once and must not be driven yet, so time stands still before it.
    let snapshot = if matches!(kind, OperationKind::Purge | OperationKind::Undelete) { stage.world.snapshot() } else { stage.settle() };
    (stage, snapshot)
}

/// Says what is missing from a complete world.
pub(crate) fn incomplete(kind: OperationKind, stage: &Stage, before: &Snapshot, after: &Snapshot) -> Result<(), String> {
    use OperationKind::{Change, Connect, Delete, Disconnect, PatchNodes, Pause, Provision, Purge, Resume, RotateCertificates, Undelete, Upgrade};
    let holds = |condition: bool, rule: &str| if condition { Ok(()) } else { Err(format!("{kind:?}: {rule}: {after:#?}")) };
    let status = |wanted: DatabaseStatus| holds(stage.database().map(|d| d.status) == Some(wanted), "the record's state");
    let nodes = |n: u32| after.node_groups.values().map(|g| g.nodes).sum::<u32>() == n && after.node_groups.values().all(|g| g.status == "ACTIVE");
    holds(after.open_commands.is_empty(), "no command is left open")?;
    match kind {
        Connect => {
            let environment = stage.environment();
            holds(environment.connected.is_some() && after.oidc_providers.len() == 1, "connected")
        }
        Upgrade => {
            holds(after.operator == "1.29.2" && stage.environment().upgrades.running.is_none(), "the newer operator")?;
            status(DatabaseStatus::Available)?;
            let moved = Snapshot { operator: before.operator.clone(), ..after.clone() };
            holds(moved == *before, "everything else is as it was")
        }
        Pause | Delete => {
            status(if kind == Pause { DatabaseStatus::Paused } else { DatabaseStatus::Grace })?;
            holds(
                after.clusters.values().all(|c| c.hibernated && c.pods == 0) && after.data() == before.data() && nodes(0),
                "no pod, no node, all data",
            )?;
            holds(after.count("Service") == if kind == Pause { 3 } else { 0 } && after.secrets == before.secrets, "addresses and Secrets")?;
            let free = stage.database().is_some_and(|d| stage.name_is_free(&d));
            holds(free == (kind == Delete), "the name")?;
            holds(kind == Pause || after.clusters.values().all(|c| c.delete_after.is_some()), "the end of the grace is marked")
        }
        Undelete => {
            status(DatabaseStatus::Paused)?;
            holds(
                after.clusters.values().all(|c| c.hibernated && c.pods == 0 && c.delete_after.is_none()) && after.data() == before.data() && nodes(0),
                "no pod, no node, no end, all data",
            )?;
            let (database, free) = (stage.database(), stage.database().is_none_or(|d| stage.name_is_free(&d)));
            holds(
                !free && database.is_some_and(|d| d.delete_after.is_none()) && after.secrets == before.secrets,
                "its name, its record and its Secrets",
            )
        }
        Purge => {
            status(DatabaseStatus::Deleted)?;
            holds(
                after.clusters.is_empty() && after.objects.is_empty() && after.secrets.is_empty() && after.node_groups.is_empty(),
                "nothing is left",
            )?;
            holds(after.buckets == before.buckets && after.archive == before.archive, "the archive is")
        }
        Disconnect => {
            let environment = stage.environment();
            let apart = environment.connection.is_none() && environment.connected.is_none() && environment.status == EnvironmentStatus::Created;
            holds(apart && stage.database().is_none_or(|d| stage.name_is_free(&d)), "no way in, and the name is free")?;
            if stage.farewell == Farewell::Destroy {
                return incomplete(Purge, stage, before, after);
            }
            status(DatabaseStatus::Released)?;
            holds(after == before, "everything is as it was")
        }
        Provision | Resume | Change | PatchNodes | RotateCertificates => {
            status(DatabaseStatus::Available)?;
            running(kind, stage, before, after)
        }
    }
}

/// Says what is missing from a world whose database runs.
fn running(kind: OperationKind, stage: &Stage, before: &Snapshot, after: &Snapshot) -> Result<(), String> {
    use OperationKind::{Change, PatchNodes, Provision, RotateCertificates};
    let holds = |condition: bool, rule: &str| if condition { Ok(()) } else { Err(format!("{kind:?}: {rule}: {after:#?}")) };
    let nodes = |n: u32| after.node_groups.values().map(|g| g.nodes).sum::<u32>() == n && after.node_groups.values().all(|g| g.status == "ACTIVE");
    let cluster = after.clusters.values().next().ok_or("no cluster")?;
    holds(after.clusters.len() == 1 && cluster.ready == cluster.instances && !cluster.hibernated && cluster.handed_over, "healthy and handed over")?;
    holds(cluster.volumes.len() == cluster.instances as usize && nodes(cluster.instances), "volumes and nodes")?;
    let kinds = ["Cluster", "ObjectStore", "Pooler", "NetworkPolicy", "ScheduledBackup", "Database"];
    holds(kinds.iter().all(|k| after.count(k) == 1) && after.count("Service") == 3 && after.secrets.len() == 3, "every object")?;
    holds(after.roles.len() == 1 && after.buckets.len() == 1, "role and bucket")?;
    holds(stage.database().and_then(|d| d.connection).is_some(), "its connection is known")?;
    holds(stage.database().is_some_and(|d| d.applied.as_ref() == Some(&d.spec)), "what is wanted is there")?;
    let shrunk = kind == Change && after.data().iter().all(|(name, (id, _))| before.data().get(name).is_some_and(|(was, _)| was == id));
    let newer = |name: &String, group: &kiven_sim::GroupSeen| before.node_groups.get(name).is_some_and(|was| was.release < group.release);
    holds(kind != PatchNodes || after.node_groups.iter().all(|(name, group)| newer(name, group)), "nodes of a newer release")?;
    let certificates = |world: &Snapshot| world.clusters.values().map(|cluster| cluster.certificate).sum::<u64>();
    holds(kind != RotateCertificates || certificates(after) == certificates(before) + 1, "one new certificate")?;
    holds(kind == Provision || shrunk || after.data() == before.data(), "the same data")
}

/// The one law of every ending: complete, as it began, or stuck past the point of no return with the data intact.
pub(crate) fn judge(stage: &Stage, head: &Operation, before: &Snapshot) -> Result<(), String> {
    let purge_pending = head.kind == OperationKind::Delete;
    let after = if purge_pending { stage.world.snapshot() } else { stage.settle() };
    let violations = stage.world.violations();
    if !violations.is_empty() {
        return Err(format!("violations: {violations:?}"));
    }
    match head.status {
        OperationStatus::Succeeded => incomplete(head.kind, stage, before, &after),
        OperationStatus::Failed => {
            let (was, is) = (before.clone().without_remains(), after.without_remains());
            if was != is {
                return Err(format!("Failed, and the world is not as it began ({:?}): {was:#?}\n{is:#?}", head.problem));
            }
            if head.kind == OperationKind::Disconnect && stage.environment().status != EnvironmentStatus::Connected {
                return Err(format!("Failed, and the environment is {:?}", stage.environment().status));
            }
            if let (Subject::Database(_), Some(database)) = (&head.subject, stage.database()) {
                let wanted = if head.kind == OperationKind::Provision { DatabaseStatus::Failed } else { DatabaseStatus::Available };
                if database.status != wanted || stage.name_is_free(&database) != (wanted == DatabaseStatus::Failed) {
                    return Err(format!("Failed, and the record is {:?}", database.status));
                }
            }
            Ok(())
        }
        OperationStatus::Stuck => {
            // A change to fewer instances was consented to: its data is the identifier and a volume of those there were.
            let kept = |was: &(Option<String>, Vec<_>), is: &(Option<String>, Vec<_>)| {
                let fewer = head.kind == OperationKind::Change && !is.1.is_empty() && is.1.iter().all(|volume| was.1.contains(volume));
                was.0 == is.0 && (fewer || was.1 == is.1)
            };
            let lost = before.data().iter().any(|(name, was)| !after.data().get(name).is_some_and(|is| kept(was, is)));
            if !head.past_no_return {
                return Err(format!("Stuck before the point of no return: {:?}", head.problem));
            }
            let consented = head.kind == OperationKind::Disconnect && stage.farewell == Farewell::Destroy;
            if lost && head.kind != OperationKind::Purge && !consented {
                return Err(format!("Stuck, and data is lost: {after:#?}"));
            }
            if head.kind == OperationKind::Provision && !after.clusters.values().any(|c| c.ready == c.instances) {
                return Err("a stuck provision has a whole database".to_owned());
            }
            Ok(())
        }
        OperationStatus::Running | OperationStatus::Unwinding => Err(format!("not over: {head:?}")),
    }
}

/// One thing that happens at one place of one step.
pub(crate) struct At {
    pub(crate) key: String,
    pub(crate) point: Point,
    pub(crate) act: Box<dyn Fn() -> Hit + Send + Sync>,
}

impl Faults for At {
    fn hit(&self, point: Point, step: &str) -> Hit {
        if self.point == point && self.key == step { (self.act)() } else { Hit::Pass }
    }
}
