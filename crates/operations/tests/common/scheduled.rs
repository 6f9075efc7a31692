//! A stage on which schedules tick: a sweep every minute, workers that answer it, people who act.
#![allow(dead_code)] // each test binary uses its own part
use super::common::{Stage, now};
use jiff::{SignedDuration, Timestamp};
use kiven_model::database::{Database, DatabaseSpec, Power};
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::operation::{Operation, OperationKind, OperationStatus, Subject};
use kiven_model::schedule::{PowerEvent, Schedule, ScheduleRequest, ScheduleSpec, ScheduledPower, WindowRequest};
use kiven_model::{DatabaseId, OperationId, ScheduleId};
use kiven_operations::{accept_database, ring_schedules, tick_all};
use kiven_ports::{Clock, Doorbell, Random, Records, Write};
use kiven_sim::Odds;
use std::time::Duration;

pub(crate) const MINUTE_MS: i64 = 60_000;
/// Most turns between two instants: more is a world that spins.
const TURNS_MAX: u32 = 1_000_000;

pub(crate) struct Scheduled {
    pub(crate) stage: Stage,
    /// While set, no sweep comes.
    pub(crate) down: bool,
    pub(crate) schedule: Option<Schedule>,
}

/// Windows as `(days, start, end)`.
pub(crate) fn request(zone: &str, windows: &[(&str, &str, &str)]) -> ScheduleRequest {
    let window = |(days, start, end): &(&str, &str, &str)| WindowRequest {
        days: days.split(',').map(str::to_owned).collect(),
        start: (*start).to_owned(),
        end: (*end).to_owned(),
    };
    ScheduleRequest { time_zone: zone.to_owned(), windows: windows.iter().map(window).collect(), ..ScheduleRequest::default() }
}

impl Scheduled {
    /// A connected environment with one database that is on.
    pub(crate) fn new(seed: u64) -> Self {
        let mut stage = Stage::new(seed, Odds::none());
        stage.complete(OperationKind::Connect);
        stage.complete(OperationKind::Provision);
        Self { stage, down: false, schedule: None }
    }
    pub(crate) fn now(&self) -> Timestamp {
        Clock::now(&*self.stage.world)
    }
    pub(crate) fn database(&self) -> Database {
        self.stage.database().expect("there is a database")
    }
    pub(crate) fn status(&self) -> DatabaseStatus {
        self.database().status
    }
    pub(crate) fn power(&self) -> Option<ScheduledPower> {
        let id = self.database().id;
        self.stage.ask(|| now(self.stage.world.scheduled_power_get(&id)))
    }
    /// Decisions, oldest first, each as `kind: reason`.
    pub(crate) fn told(&self) -> Vec<String> {
        let id = self.database().id;
        let mut events: Vec<PowerEvent> = self.stage.ask(|| now(self.stage.world.power_events(&id)));
        events.reverse();
        events.iter().map(|event| format!("{}: {}", event.kind.as_str(), event.reason)).collect()
    }

    /// Gives the database a schedule, or changes it, as the API does.
    pub(crate) fn schedule_put(&mut self, request: &ScheduleRequest) -> ScheduleSpec {
        let database = self.database().id;
        let asked = ScheduleRequest { database_ids: vec![database.to_string()], ..request.clone() };
        let spec = asked.validate().expect("the schedule is valid").into_inner();
        let at = self.now();
        let (record, power) = match (self.schedule.take(), self.power()) {
            (Some(known), Some(power)) => {
                (Schedule { spec: spec.clone(), updated_at: at, version: known.version + 1, ..known }, power.rescheduled(at))
            }
            _ => {
                let id = ScheduleId::from_random(Random::bits(&*self.stage.world));
                let organization_id = self.stage.world.environment().organization_id;
                let made = Schedule { id, organization_id, spec: spec.clone(), created_at: at, updated_at: at, version: 1 };
                let power = ScheduledPower::joined(&made, database, at);
                (made, power)
            }
        };
        let fence = |version: u64| (version > 1).then(|| version - 1);
        self.stage.quietly(vec![
            Write::Schedule { expected: fence(record.version), record: Box::new(record.clone()) },
            Write::ScheduledPower { expected: fence(power.version), record: Box::new(power) },
        ]);
        self.schedule = Some(record);
        spec
    }

    /// What a person writes in their configuration.
    pub(crate) fn declare(&self, power: Power) {
        let database = self.database();
        let spec = DatabaseSpec { power, ..database.spec.clone() };
        self.stage.database_put(Database { spec, ..database });
    }

    /// What a person asks for, as the API takes it. Refused while something runs.
    pub(crate) fn by_hand(&mut self, wanted: Power) -> bool {
        if self.busy() {
            return false;
        }
        let database = self.database();
        match (wanted, database.status) {
            (Power::On, DatabaseStatus::Available) | (Power::Off, DatabaseStatus::Paused) => {
                let last_manual_at = Some(self.now());
                self.stage.database_put(Database { last_manual_at, switched_by_schedule: false, ..database });
                true
            }
            (Power::On, DatabaseStatus::Paused) => self.stage.accept(OperationKind::Resume, 0).is_some(),
            (Power::Off, DatabaseStatus::Available) => self.stage.accept(OperationKind::Pause, 0).is_some(),
            _ => false,
        }
    }

    pub(crate) fn running(&self) -> Option<Operation> {
        let id = self.database().operation_id?;
        let known: Option<Operation> = self.stage.ask(|| now(self.stage.world.operation_get(&id)));
        known.filter(|operation| !operation.status.over())
    }
    /// Whether another operation works on the database while it is on.
    pub(crate) fn busy(&self) -> bool {
        self.status() == DatabaseStatus::Available && self.running().is_some()
    }
    /// Whether a backup or a change is under way: a pause waits for it.
    pub(crate) fn in_the_way(&self) -> bool {
        self.busy() || self.stage.world.backing_up() || self.status() == DatabaseStatus::Changing
    }
    /// A person asks for other settings and another number of instances, if nothing runs.
    pub(crate) fn change_begins(&self) -> Option<OperationId> {
        let mut database = self.database();
        if database.status != DatabaseStatus::Available || self.busy() {
            return None;
        }
        let fewer = database.spec.instances == 3;
        database.spec.instances = if fewer { 2 } else { 3 };
        database.spec.parameters.insert("work_mem".to_owned(), if fewer { "8MB" } else { "16MB" }.to_owned());
        let (id, version) = (OperationId::from_random(Random::bits(&*self.stage.world)), database.version);
        let accepted = accept_database(&self.stage.environment(), database, Some(version), OperationKind::Change, id.clone(), "key_test", self.now());
        self.stage.quietly(accepted.ok()?.writes);
        now(Doorbell::doorbell_ring(&*self.stage.world, &id, Duration::ZERO)).ok();
        Some(id)
    }
    /// Another operation begins, if nothing runs: to a schedule it is one like any other.
    pub(crate) fn other_begins(&mut self) -> Option<OperationId> {
        let database = self.database();
        if database.status != DatabaseStatus::Available || self.busy() {
            return None;
        }
        let last = self.stage.operation(database.operation_id.as_ref().expect("it was provisioned"));
        let at = self.now();
        let other = Operation {
            id: OperationId::from_random(Random::bits(&*self.stage.world)),
            kind: OperationKind::Connect,
            subject: Subject::Database(database.id.clone()),
            status: OperationStatus::Running,
            due_at: None,
            past_no_return: true,
            cancel_requested: false,
            created_at: at,
            updated_at: at,
            version: 1,
            ..last
        };
        self.stage.quietly(vec![Write::Operation { record: Box::new(other.clone()), expected: None }]);
        self.stage.database_put(Database { operation_id: Some(other.id.clone()), ..database });
        Some(other.id)
    }
    pub(crate) fn other_ends(&mut self, id: &OperationId) {
        let other = self.stage.operation(id);
        let (expected, version) = (Some(other.version), other.version + 1);
        let ended = Operation { status: OperationStatus::Succeeded, version, ..other };
        self.stage.quietly(vec![Write::Operation { record: Box::new(ended), expected }]);
    }

    fn sweep(&mut self) {
        let at = self.now();
        let due = now(self.stage.world.operations_due(at, 10)).unwrap_or_default();
        due.iter().for_each(|due| self.stage.drive(due));
        // What cannot be rung for now is rung for a minute later.
        now(ring_schedules(&*self.stage.world)).ok();
    }
    /// Lets time pass, and everything happen that falls into it.
    pub(crate) fn pass(&mut self, until: Timestamp) {
        let until = until.as_millisecond();
        for _ in 0..TURNS_MAX {
            if let Some(rung) = self.stage.world.take_ring() {
                self.stage.drive(&rung);
                continue;
            }
            if let Some(databases) = self.stage.world.take_tick() {
                self.tick(&databases);
                continue;
            }
            let at = self.stage.world.now_ms();
            if at >= until {
                return;
            }
            let sweep = (at / MINUTE_MS + 1) * MINUTE_MS;
            let ring = self.stage.world.next_ring_ms().unwrap_or(i64::MAX);
            let next = sweep.min(ring).min(until).min(self.stage.world.next_event_ms().max(at + 1));
            self.stage.world.advance_to(next);
            if next == sweep && !self.down {
                self.sweep();
            }
        }
        panic!("the world spins at {}", self.now());
    }
    pub(crate) fn pass_minutes(&mut self, minutes: i64) {
        self.pass(self.now() + SignedDuration::from_mins(minutes));
    }
    pub(crate) fn tick(&self, databases: &[DatabaseId]) {
        now(tick_all(&*self.stage.world, databases));
    }
}
