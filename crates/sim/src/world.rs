//! The world itself: its state behind one lock, its time, its doorbell, and the ports that lead into it.
use crate::account::Cloud;
use crate::agent::Agent;
use crate::commands::Inbox;
use crate::faults::{Faults, Odds, Seeded};
use crate::kube::Kube;
use crate::records::Store;
use jiff::{SignedDuration, Timestamp};
use kiven_model::environment::{ConnectionSpec, Environment, EnvironmentSpec, EnvironmentStatus};
use kiven_model::operation::{Lease, Operation};
use kiven_model::{Code, DatabaseId, EnvironmentId, OperationId, OrganizationId, Problem};
use kiven_ports::runtime::TICKS_MAX;
use kiven_ports::{Clock, Doorbell, PortError, Ports, Random};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// When every world begins: 2026-01-01T00:00:00Z in milliseconds.
const BEGIN_MS: i64 = 1_767_225_600_000;
/// Most things that may happen in one stretch of time: more is a world that spins.
const EVENTS_MAX: u32 = 2_000_000;
/// A future over this world never waits; this many polls without an end is a bug.
const POLLS_MAX: u32 = 1000;
/// How long another drive keeps a lease that it has taken away.
const STOLEN: SignedDuration = SignedDuration::from_secs(90);

/// Everything, behind one lock.
pub(crate) struct State {
    pub(crate) now: i64,
    pub(crate) random: Seeded,
    pub(crate) faults: Faults,
    pub(crate) store: Store,
    pub(crate) cloud: Cloud,
    pub(crate) inbox: Inbox,
    pub(crate) kube: Kube,
    pub(crate) agent: Agent,
    pub(crate) rings: Vec<(i64, OperationId)>,
    pub(crate) ticks: Vec<Vec<DatabaseId>>,
    pub(crate) packs: BTreeMap<String, Vec<u8>>,
    pub(crate) effects: u64,
    pub(crate) violations: Vec<String>,
}

/// A whole small world with one environment in one account.
pub struct World {
    state: Mutex<State>,
    environment: Environment,
}

/// A time of this world.
pub(crate) fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}

impl State {
    pub(crate) fn ring(&mut self, operation: &OperationId, delay: Duration) {
        if self.faults.dice.hits(self.faults.odds.ring_lost) {
            return;
        }
        let due = self.now.saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX));
        let rings = 1 + usize::from(self.faults.dice.hits(self.faults.odds.ring_doubled));
        // Every ring that is answered rings again: without this bound doubling would grow without end.
        let there = self.rings.iter().filter(|(at, id)| *at == due && id == operation).count();
        for _ in there..rings.max(there) {
            self.rings.push((due, operation.clone()));
        }
    }

    /// When something next happens by itself.
    fn next_event(&self) -> i64 {
        let nodes = self.cloud.groups.next_change_ms();
        let pods = self.kube.next_change(&self.cloud.nodes);
        [nodes, pods, self.agent.wakes_at, Some(self.agent.beats_at)].into_iter().flatten().min().unwrap_or(i64::MAX).max(self.now)
    }

    fn advance_to(&mut self, until: i64) {
        for _ in 0..EVENTS_MAX {
            let next = self.next_event();
            if next > until {
                self.now = self.now.max(until);
                return;
            }
            self.now = next;
            if self.cloud.groups.settle(next) {
                self.cloud.count_nodes();
            }
            self.kube.settle(next, &self.cloud.nodes);
            self.violations.append(&mut self.kube.bases.cut);
            self.agent_acts();
        }
        self.violations.push("the world does not come to rest".to_owned());
        self.now = until;
    }
}

impl World {
    /// A new world: an account with an EKS cluster and an agent in it, and the record of an environment that is not connected.
    #[must_use]
    pub fn new(seed: u64, odds: Odds) -> Self {
        let mut random = Seeded::new(seed);
        let environment = Environment {
            id: EnvironmentId::from_random(random.bits()),
            organization_id: OrganizationId::from_random(random.bits()),
            spec: EnvironmentSpec {
                name: "production".to_owned(),
                aws_account_id: "123456789012".to_owned(),
                aws_region: "eu-west-1".to_owned(),
                eks_cluster_name: "main".to_owned(),
                agent_enrolment: Default::default(),
            },
            external_id: format!("{:032x}", u128::from_be_bytes(random.bits())),
            connection: None,
            connected: None,
            status: EnvironmentStatus::Created,
            operation_id: None,
            problem: None,
            access_tried_at: None,
            upgrades: Default::default(),
            created_at: at(BEGIN_MS),
            version: 1,
        };
        let state = State {
            now: BEGIN_MS,
            faults: Faults { odds, dice: Seeded::new(seed ^ 0x5eed_0ffa) },
            store: Store::default(),
            cloud: Cloud::new(&environment, &connection()),
            inbox: Inbox::default(),
            kube: Kube::new(seed),
            agent: Agent::new(environment.id.clone(), BEGIN_MS),
            rings: Vec::new(),
            ticks: Vec::new(),
            packs: BTreeMap::new(),
            effects: 0,
            violations: Vec::new(),
            random,
        };
        Self { state: Mutex::new(state), environment }
    }

    /// The environment as it is before anything is recorded of it.
    #[must_use]
    pub fn environment(&self) -> Environment {
        self.environment.clone()
    }
    /// The way in that the customer has made.
    #[must_use]
    pub fn connection(&self) -> ConnectionSpec {
        self.state().cloud.connection.clone()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One call through a port: it may fail before its effect, or after.
    pub(crate) fn call<T>(&self, call: &str, effect: impl FnOnce(&mut State) -> Result<T, PortError>) -> Result<T, PortError> {
        let mut state = self.state();
        state.faults.before(call)?;
        let answer = effect(&mut state)?;
        state.faults.after(call)?;
        Ok(answer)
    }
    /// A call that touches more than the records; counted.
    pub(crate) fn effect<T>(&self, call: &str, effect: impl FnOnce(&mut State) -> Result<T, PortError>) -> Result<T, PortError> {
        self.call(call, |state| {
            state.effects += 1;
            let answer = effect(state);
            state.cloud.count_nodes();
            answer
        })
    }

    /// Changes the odds from now on.
    pub fn odds_set(&self, odds: Odds) {
        self.state().faults.odds = odds;
    }
    /// The odds as they are.
    #[must_use]
    pub fn odds(&self) -> Odds {
        self.state().faults.odds
    }
    /// How many calls have gone to the account or the agents.
    #[must_use]
    pub fn effects(&self) -> u64 {
        self.state().effects
    }
    /// What should never have happened and did.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }
    /// Makes a zone run short, or gives it capacity again.
    pub fn capacity_set(&self, subnet: &str, available: bool) {
        let mut state = self.state();
        state.cloud.groups.capacity_set(subnet, available);
        state.cloud.count_nodes();
    }
    /// Lets somebody change the settings of everything of a kind by hand.
    pub fn meddle(&self, kind: kiven_ports::account::ResourceKind) {
        self.state().cloud.meddled.insert(kind);
    }
    /// Lets the customer make node groups of their own in the EKS cluster, of one node each.
    pub fn strangers_add(&self, groups: usize) {
        let mut state = self.state();
        let now = state.now;
        state.cloud.strangers_add(now, groups);
    }
    /// Lets the customer take the role's trust away, or give it back.
    pub fn access_set(&self, open: bool) {
        self.state().cloud.locked = !open;
    }
    /// Lets the customer replace the role by another; the old one is gone.
    pub fn role_replace(&self, role_arn: &str) {
        role_arn.clone_into(&mut self.state().cloud.connection.role_arn);
    }
    /// Lets an instance of every database fail for good.
    pub fn break_instance(&self) {
        self.state().kube.break_instance();
    }
    /// Another operator is there, as whoever looks after the cluster may have seen to.
    pub fn operator_set(&self, version: &str) {
        self.state().kube.operator = (version.to_owned(), 0);
    }
    /// Lets every backup come to a bad end, or a good one again.
    pub fn backups_fail_set(&self, fail: bool) {
        self.state().kube.backups_fail = fail;
    }
    /// Lets base backups begin as they are scheduled from now on, and each run for so long.
    pub fn base_backups_set(&self, length: Duration) {
        let mut state = self.state();
        let now = state.now;
        state.kube.bases.take(now, i64::try_from(length.as_millis()).unwrap_or(i64::MAX));
    }
    /// Whether a base backup runs.
    #[must_use]
    pub fn backing_up(&self) -> bool {
        self.state().kube.bases.any()
    }
    /// Takes the agent away, or starts it again.
    pub fn agent_set(&self, up: bool) {
        let mut state = self.state();
        let now = state.now;
        state.agent.set(up, now);
    }

    /// The time in milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.state().now
    }
    /// When something next happens by itself: a node, a pod, the agent.
    #[must_use]
    pub fn next_event_ms(&self) -> i64 {
        self.state().next_event()
    }
    /// Lets time pass, and everything happen that falls into it.
    pub fn advance_to(&self, ms: i64) {
        self.state().advance_to(ms);
    }

    /// When the doorbell next rings.
    #[must_use]
    pub fn next_ring_ms(&self) -> Option<i64> {
        self.state().rings.iter().map(|(due, _)| *due).min()
    }
    /// Takes a ring whose time has come.
    pub fn take_ring(&self) -> Option<OperationId> {
        let mut state = self.state();
        let now = state.now;
        let first = (0..state.rings.len()).filter(|&i| state.rings[i].0 <= now).min_by_key(|&i| (state.rings[i].0, i))?;
        Some(state.rings.remove(first).1)
    }
    /// Takes a ring for what is due in schedules.
    pub fn take_tick(&self) -> Option<Vec<DatabaseId>> {
        let mut state = self.state();
        if state.ticks.is_empty() { None } else { Some(state.ticks.remove(0)) }
    }
    /// When the sweep next finds a schedule that has to decide.
    #[must_use]
    pub fn next_tick_ms(&self) -> Option<i64> {
        self.state().store.powers.values().filter_map(|power| power.next_due).min().map(Timestamp::as_millisecond)
    }
    /// When the sweep next finds something due.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<i64> {
        self.state().store.operations.values().filter_map(|operation| operation.due_at).min().map(Timestamp::as_millisecond)
    }

    /// Asks an operation to stop, as the API does.
    pub fn cancel(&self, id: &OperationId) {
        let mut state = self.state();
        let now = at(state.now);
        state.store.edit(id, |head| {
            if !head.past_no_return {
                (head.cancel_requested, head.due_at) = (true, Some(now));
            }
        });
    }
    /// Lets another drive take the lease away in the middle of a drive, and then vanish.
    pub fn withdraw_lease(&self, id: &OperationId) {
        let mut state = self.state();
        let now = at(state.now);
        state.store.edit(id, |head| steal(head, now));
    }
}

/// What the records look like after another drive has begun.
pub(crate) fn steal(head: &mut Operation, now: Timestamp) {
    let until = now + STOLEN;
    (head.lease, head.due_at) = (Some(Lease { owner: "thief".to_owned(), until }), Some(until));
}

fn connection() -> ConnectionSpec {
    ConnectionSpec {
        role_arn: "arn:aws:iam::123456789012:role/kiven".to_owned(),
        subnets: [("eu-west-1a", "subnet-a"), ("eu-west-1b", "subnet-b")].map(|(zone, subnet)| (zone.to_owned(), subnet.to_owned())).into(),
        launch_template: "lt-0123456789abcdef0".to_owned(),
        backup_kms_key_arn: None,
        node_group_quota: None,
    }
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        at(self.state().now)
    }
    /// Calls take no time here, so what is raced against time wins, or hangs for ever and is cut off at once.
    async fn sleep(&self, _: Duration) {}
}

impl Random for World {
    fn bits(&self) -> [u8; 16] {
        self.state().random.bits()
    }
}

impl Doorbell for World {
    async fn doorbell_ring(&self, operation: &OperationId, delay: Duration) -> Result<(), PortError> {
        self.call("sqs:SendMessage", |state| {
            state.ring(operation, delay);
            Ok(())
        })
    }
    async fn doorbell_tick(&self, databases: &[DatabaseId]) -> Result<(), PortError> {
        self.call("sqs:SendMessage", |state| {
            if databases.len() > TICKS_MAX {
                return Err(PortError::Refused(Problem::new(Code::REPLAY_DIFFERS, format!("{} databases in one ring", databases.len()))));
            }
            let lost = state.faults.dice.hits(state.faults.odds.ring_lost);
            let rings = if lost { 0 } else { 1 + usize::from(state.faults.dice.hits(state.faults.odds.ring_doubled)) };
            state.ticks.extend(std::iter::repeat_n(databases.to_vec(), rings));
            Ok(())
        })
    }
}

impl Ports for World {
    type Records = Self;
    type Account = Self;
    type Agents = Self;
    type Doorbell = Self;
    type Clock = Self;
    type Random = Self;

    fn records(&self) -> &Self {
        self
    }
    fn account(&self) -> &Self {
        self
    }
    fn agents(&self) -> &Self {
        self
    }
    fn doorbell(&self) -> &Self {
        self
    }
    fn clock(&self) -> &Self {
        self
    }
    fn random(&self) -> &Self {
        self
    }
}

/// Runs a future over this world to its end; `None` when it waits for something that is not of this world.
pub fn block_on<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..POLLS_MAX {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
    }
    None
}
