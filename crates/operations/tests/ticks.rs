//! What schedules do to a database in the simulated world, one story each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests are tests
mod common;
#[path = "common/scheduled.rs"]
mod scheduled;

use common::now;
use jiff::{SignedDuration, Timestamp};
use kiven_model::api::DatabaseView;
use kiven_model::database::{Database, Power};
use kiven_model::environment::{Environment, EnvironmentStatus};
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::names::backup_minute;
use kiven_model::operation::{OperationKind, OperationStatus};
use kiven_model::schedule::{Schedule, ScheduleRequest, ScheduledPower};
use kiven_model::{Code, DatabaseId, OperationId, ScheduleId};
use kiven_ports::runtime::TICKS_MAX;
use kiven_ports::{Clock, Records, Write};
use kiven_sim::Odds;
use scheduled::{Scheduled, request};
use std::time::Duration;

const SEED: u64 = 7;
const DAILY: &str = "mon,tue,wed,thu,fri,sat,sun";

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// On from 08:00 to 18:00 UTC every day; it is the first of January, a little after midnight, and the database is on.
fn daily() -> Scheduled {
    let mut world = Scheduled::new(SEED);
    world.schedule_put(&request("UTC", &[(DAILY, "08:00", "18:00")]));
    world
}

#[test]
fn a_day_goes_by() {
    let mut world = daily();
    world.pass(time("2026-01-01T17:59:00Z"));
    assert_eq!(world.status(), DatabaseStatus::Available);
    world.pass(time("2026-01-01T18:15:00Z"));
    assert_eq!(world.status(), DatabaseStatus::Paused);
    world.pass(time("2026-01-02T07:59:00Z"));
    assert_eq!(world.status(), DatabaseStatus::Paused);
    world.pass(time("2026-01-02T08:15:00Z"));
    assert_eq!(world.status(), DatabaseStatus::Available);
    let database = world.database();
    assert_eq!((database.spec.power, database.last_manual_at, database.resume_seconds.len()), (Power::On, None, 1));
    assert!((30..900).contains(&database.resume_seconds[0]), "{:?}", database.resume_seconds);
    assert_eq!(
        world.told(),
        [
            "leave: scheduled pause of Wed 2025-12-31 18:00 UTC: left out, the schedule was changed after it",
            "leave: scheduled resume of Thu 2026-01-01 08:00 UTC: the database is on",
            "pause: scheduled pause of Thu 2026-01-01 18:00 UTC: begins",
            "resume: scheduled resume of Fri 2026-01-02 08:00 UTC: begins",
        ]
    );
    assert_eq!(world.stage.world.violations(), Vec::<String>::new());
}

#[test]
fn who_wants_to_be_ready_by_eight_is() {
    let mut world = Scheduled::new(SEED);
    world.schedule_put(&ScheduleRequest { ready_by: Some(true), ..request("UTC", &[(DAILY, "08:00", "18:00")]) });
    world.pass(time("2026-01-02T07:45:00Z"));
    assert_eq!(world.status(), DatabaseStatus::Paused);
    world.pass(time("2026-01-02T08:00:00Z"));
    assert_eq!(world.status(), DatabaseStatus::Available);
    // The second morning begins as early as its own first resume says.
    let took = world.database().resume_seconds[0];
    let lead = kiven_model::schedule::lead_seconds(&[took]);
    let begins = time("2026-01-03T08:00:00Z") - SignedDuration::from_secs(lead.into());
    world.pass(begins - SignedDuration::from_secs(1));
    assert_eq!(world.status(), DatabaseStatus::Paused);
    world.pass(begins + SignedDuration::from_mins(1));
    assert_eq!(world.status(), DatabaseStatus::Resuming);
}

#[test]
fn the_weekend_of_the_change_to_summer_time() {
    let mut world = Scheduled::new(SEED);
    world.schedule_put(&ScheduleRequest { ready_by: Some(true), ..request("Europe/Paris", &[("mon,tue,wed,thu,fri", "08:00", "18:00")]) });
    world.stage.world.advance_to(time("2026-03-27T16:55:00Z").as_millisecond());
    world.pass(time("2026-03-27T16:59:00Z"));
    assert_eq!(world.status(), DatabaseStatus::Available, "Friday, 17:59 in Paris");
    world.pass(time("2026-03-27T17:15:00Z"));
    assert_eq!(world.status(), DatabaseStatus::Paused, "Friday evening");
    world.pass(time("2026-03-30T05:45:00Z"));
    assert_eq!(world.status(), DatabaseStatus::Paused, "the weekend");
    world.pass(time("2026-03-30T06:00:00Z"));
    assert_eq!(world.status(), DatabaseStatus::Available, "Monday, 8:00 in Paris, summer time");
}

#[test]
fn what_people_do_holds_until_the_next_boundary() {
    let mut world = daily();
    world.pass(time("2026-01-01T12:00:00Z"));
    assert!(world.by_hand(Power::Off));
    world.pass(time("2026-01-01T20:00:00Z"));
    assert_eq!(world.status(), DatabaseStatus::Paused);
    assert!(world.by_hand(Power::On));
    world.pass(time("2026-01-02T17:59:00Z"));
    assert_eq!(world.status(), DatabaseStatus::Available);
    world.pass(time("2026-01-02T18:15:00Z"));
    assert_eq!(world.status(), DatabaseStatus::Paused);
}

#[test]
fn a_change_that_runs_at_the_boundary_ends_first_and_is_not_interrupted() {
    let mut world = daily();
    world.pass(time("2026-01-01T17:59:30Z"));
    let change = world.stage.accept(OperationKind::Change, 0).unwrap();
    world.pass(time("2026-01-01T18:00:20Z"));
    assert_eq!(world.status(), DatabaseStatus::Changing);
    world.pass(time("2026-01-01T18:59:00Z"));
    let (change, database) = (world.stage.operation(&change), world.database());
    assert_eq!((change.status, database.status), (OperationStatus::Succeeded, DatabaseStatus::Paused), "{:?}", change.problem);
    let pause = world.stage.operation(database.operation_id.as_ref().unwrap());
    assert!(pause.kind == OperationKind::Pause && pause.created_at >= change.updated_at && !change.cancel_requested);
    let told = world.told();
    let of_the_evening: Vec<&str> =
        told.iter().filter(|one| one.contains(" of Thu 2026-01-01 18:00 UTC")).filter_map(|one| one.split_once(':')).map(|(kind, _)| kind).collect();
    assert_eq!(of_the_evening, ["wait", "pause"], "{told:?}");
    assert_eq!(world.stage.world.violations(), Vec::<String>::new());
}

#[test]
fn a_scheduled_pause_waits_for_what_runs_and_is_given_up_in_the_end() {
    let mut world = daily();
    world.pass(time("2026-01-01T17:30:00Z"));
    let other = world.other_begins().unwrap();
    world.pass(time("2026-01-01T19:00:00Z"));
    assert_eq!((world.status(), world.database().operation_id.as_ref()), (DatabaseStatus::Available, Some(&other)));
    world.other_ends(&other);
    world.pass(time("2026-01-01T19:15:00Z"));
    assert_eq!(world.status(), DatabaseStatus::Paused);
    world.pass(time("2026-01-02T17:30:00Z"));
    let other = world.other_begins().unwrap();
    world.pass(time("2026-01-02T20:30:00Z"));
    world.other_ends(&other);
    world.pass(time("2026-01-02T23:00:00Z"));
    assert_eq!(world.status(), DatabaseStatus::Available);
    let told = world.told();
    assert!(told.iter().any(|told| told.starts_with("wait:")) && told.last().unwrap().starts_with("skip:"), "{told:#?}");
}

#[test]
fn a_scheduled_resume_takes_a_pause_back_that_has_not_hibernated() {
    let mut world = daily();
    world.pass(time("2026-01-01T07:59:58Z"));
    world.declare(Power::Off);
    assert!(world.by_hand(Power::Off));
    let pause = world.database().operation_id.unwrap();
    world.pass(time("2026-01-01T08:15:00Z"));
    let ended = world.stage.operation(&pause);
    assert_eq!((ended.status, ended.cancel_requested, world.status()), (OperationStatus::Failed, true, DatabaseStatus::Available));
    // What is declared is people's, and what a schedule has done is no drift.
    assert_eq!((world.database().spec.power, DatabaseView::of(&world.database()).power_state), (Power::Off, Power::Off));
    assert!(world.told().iter().any(|told| told.starts_with("cancel_pause:")), "{:#?}", world.told());
}

#[test]
fn schedules_stop_while_access_is_lost_and_missed_boundaries_collapse() {
    let mut world = daily();
    let put = |world: &Scheduled, status| {
        let known = world.stage.environment();
        let (expected, version) = (Some(known.version), known.version + 1);
        let record = Environment { status, version, ..known };
        world.stage.quietly(vec![Write::Environment { record: Box::new(record), expected }]);
    };
    put(&world, EnvironmentStatus::AccessLost);
    world.stage.world.access_set(false);
    world.pass(time("2026-01-03T20:00:00Z"));
    assert_eq!(world.status(), DatabaseStatus::Available);
    let lost = "cannot be done, the environment's access is lost";
    let told = |day: &str| format!("wait: scheduled pause of {day} 18:00 UTC: {lost}");
    // Each boundary that would have paused it is told once, however often it was looked at.
    assert_eq!(world.told(), [told("Thu 2026-01-01"), told("Fri 2026-01-02"), told("Sat 2026-01-03")]);
    // Nobody says that the role opens again, and no operation waits for it: the tick finds out.
    world.stage.world.access_set(true);
    world.pass(time("2026-01-03T20:20:00Z"));
    assert_eq!((world.stage.environment().status, world.status()), (EnvironmentStatus::Connected, DatabaseStatus::Paused));
    assert_eq!(world.told().len(), 4, "three days of boundaries are one: {:#?}", world.told());
}

#[test]
fn disabled_deleted_or_enabled_a_schedule_leaves_the_power_as_it_is() {
    let mut world = daily();
    world.pass(time("2026-01-01T19:00:00Z"));
    let on = request("UTC", &[(DAILY, "08:00", "18:00")]);
    world.schedule_put(&ScheduleRequest { enabled: Some(false), ..on.clone() });
    world.pass(time("2026-01-02T12:00:00Z"));
    assert_eq!((world.status(), world.power().unwrap().next_due), (DatabaseStatus::Paused, None));
    world.schedule_put(&on);
    world.pass(time("2026-01-02T17:00:00Z"));
    assert_eq!(world.status(), DatabaseStatus::Paused, "enabled after its window had opened");
    world.pass(time("2026-01-03T08:15:00Z"));
    assert_eq!(world.status(), DatabaseStatus::Available);
    let (schedule, power) = (world.schedule.take().unwrap(), world.power().unwrap());
    world.stage.quietly(vec![
        Write::ScheduleGone { id: schedule.id, expected: schedule.version },
        Write::ScheduledPowerGone { id: power.database_id, expected: power.version },
    ]);
    world.pass(time("2026-01-03T23:00:00Z"));
    assert_eq!(world.status(), DatabaseStatus::Available);
}

#[test]
fn a_deleted_database_is_left_alone() {
    let mut world = daily();
    world.stage.accept(OperationKind::Delete, 0).unwrap();
    world.pass(time("2026-01-01T19:00:00Z"));
    assert_eq!(world.status(), DatabaseStatus::Deleted);
    world.pass_minutes(120);
    assert_eq!((world.power().unwrap().next_due, world.told().len()), (None, 0));
}

#[test]
fn lost_and_doubled_rings_and_failing_ports_change_nothing() {
    let deaf = Odds { ring_lost: 5_000, ..Odds::none() };
    for odds in [deaf, Odds::echoing(), Odds { lease_withdrawn: 0, ..Odds::rough() }] {
        let mut world = daily();
        world.pass(time("2026-01-01T17:59:00Z"));
        world.stage.world.odds_set(odds);
        world.pass(time("2026-01-01T18:59:00Z"));
        assert_eq!(world.status(), DatabaseStatus::Paused, "{odds:?}");
        world.pass(time("2026-01-02T08:59:00Z"));
        assert_eq!(world.status(), DatabaseStatus::Available, "{odds:?}");
        world.stage.world.odds_set(Odds::none());
        let operations = now(world.stage.world.operation_list(&world.stage.world.environment().organization_id)).unwrap();
        let scheduled = operations.iter().filter(|o| matches!(o.kind, OperationKind::Pause | OperationKind::Resume)).count();
        assert_eq!(scheduled, 2, "{odds:?}: {operations:#?}");
    }
}

#[test]
fn a_lost_access_is_tried_once_in_five_minutes_for_all_databases() {
    let world = daily();
    let put = |world: &Scheduled| {
        let known = world.stage.environment();
        let (expected, version) = (Some(known.version), known.version + 1);
        let record = Environment { status: EnvironmentStatus::AccessLost, version, ..known };
        world.stage.quietly(vec![Write::Environment { record: Box::new(record), expected }]);
    };
    put(&world);
    world.stage.world.access_set(false);
    let power = world.power().unwrap();
    let due = |next_due| {
        let known = world.power().unwrap();
        let record = ScheduledPower { next_due: Some(next_due), version: known.version + 1, ..known.clone() };
        world.stage.quietly(vec![Write::ScheduledPower { record: Box::new(record), expected: Some(known.version) }]);
    };
    for _ in 0..10 {
        due(world.now());
        world.tick(std::slice::from_ref(&power.database_id));
    }
    let tried = world.stage.environment();
    assert_eq!((tried.status, tried.access_tried_at), (EnvironmentStatus::AccessLost, Some(world.now())));
    let version = tried.version;
    world.stage.world.advance_to(world.stage.world.now_ms() + 5 * scheduled::MINUTE_MS);
    due(world.now());
    world.tick(std::slice::from_ref(&power.database_id));
    assert_eq!(world.stage.environment().version, version + 1);
}

#[test]
fn a_pause_without_access_fails_at_once_and_changes_nothing() {
    let mut world = daily();
    let before = world.stage.settle();
    world.pass(time("2026-01-01T17:59:00Z"));
    world.stage.world.access_set(false);
    world.pass(time("2026-01-01T18:02:00Z"));
    let database = world.database();
    let pause = world.stage.operation(database.operation_id.as_ref().unwrap());
    assert_eq!((pause.kind, pause.status, database.status), (OperationKind::Pause, OperationStatus::Failed, DatabaseStatus::Available));
    assert_eq!(database.problem.map(|problem| problem.code), Some(Code::ACCESS_DENIED));
    let after = world.stage.settle();
    assert_eq!(before, after, "PostgreSQL was not touched");
    assert_eq!(world.stage.environment().status, EnvironmentStatus::AccessLost);
    // It is seen to when the role opens again.
    world.pass(time("2026-01-01T19:00:00Z"));
    assert_eq!(world.status(), DatabaseStatus::Available);
    world.stage.world.access_set(true);
    world.pass(time("2026-01-01T19:20:00Z"));
    assert_eq!((world.status(), world.stage.environment().status), (DatabaseStatus::Paused, EnvironmentStatus::Connected));
}

/// A day in which the evening comes two minutes after the database's base backup has begun.
fn with_backups(minutes: u64) -> (Scheduled, Timestamp) {
    let mut world = Scheduled::new(SEED);
    let minute = backup_minute(&world.database().id);
    world.schedule_put(&request("UTC", &[(DAILY, "08:00", &format!("18:{:02}", minute + 2))]));
    world.stage.world.base_backups_set(Duration::from_secs(60 * minutes));
    (world, time("2026-01-01T18:00:00Z") + SignedDuration::from_mins(minute.cast_signed()))
}

#[test]
fn a_pause_waits_for_a_backup_that_nobody_has_told_of() {
    let (mut world, begins) = with_backups(20);
    world.pass(begins - SignedDuration::from_mins(1));
    // The agent falls silent: what is known of the database is from before the backup.
    world.stage.world.agent_set(false);
    world.pass(begins + SignedDuration::from_mins(3));
    assert!(world.stage.world.backing_up());
    assert_eq!(world.status(), DatabaseStatus::Pausing, "the decision knew of no backup");
    world.stage.world.agent_set(true);
    world.pass(begins + SignedDuration::from_mins(19));
    assert_eq!(world.status(), DatabaseStatus::Pausing);
    assert!(world.stage.world.snapshot().clusters.values().all(|cluster| cluster.pods > cluster.instances), "pooler and instances are left alone");
    world.pass(begins + SignedDuration::from_mins(35));
    assert_eq!((world.status(), world.stage.world.backing_up()), (DatabaseStatus::Paused, false));
    assert_eq!(world.stage.world.violations(), Vec::<String>::new());
}

#[test]
fn a_backup_that_never_ends_takes_a_pause_back_and_stops_no_delete() {
    let (mut world, _) = with_backups(100_000);
    world.pass(time("2026-01-01T13:00:00Z"));
    assert!(world.stage.world.backing_up());
    let before = world.stage.world.snapshot();
    world.declare(Power::Off);
    assert!(world.by_hand(Power::Off));
    world.pass(time("2026-01-01T14:50:00Z"));
    assert_eq!(world.status(), DatabaseStatus::Pausing);
    world.pass(time("2026-01-01T15:30:00Z"));
    let database = world.database();
    assert_eq!((database.status, database.problem.map(|problem| problem.code)), (DatabaseStatus::Available, Some(Code::BACKUP_RUNNING)));
    assert_eq!(database.spec.power, Power::Off, "it is in a schedule: what is declared stays");
    assert_eq!(world.stage.world.snapshot().without_remains(), before.without_remains());
    // The schedule waits as long, and then says so.
    world.pass(time("2026-01-01T23:00:00Z"));
    assert_eq!(world.status(), DatabaseStatus::Available);
    assert!(world.told().last().unwrap().contains("a backup still runs after 120 minutes"), "{:#?}", world.told());
    world.stage.accept(OperationKind::Delete, 0).unwrap();
    world.pass_minutes(60);
    assert_eq!(world.status(), DatabaseStatus::Deleted);
    assert_eq!(world.stage.world.violations(), Vec::<String>::new());
}

#[test]
fn an_early_start_follows_resumes_that_came_after_the_last_boundary() {
    let mut world = Scheduled::new(SEED);
    world.schedule_put(&ScheduleRequest { ready_by: Some(true), ..request("UTC", &[(DAILY, "08:00", "18:00")]) });
    world.pass(time("2026-01-02T03:00:00Z"));
    world.stage.database_put(Database { resume_seconds: vec![1100; 5], ..world.database() });
    world.pass(time("2026-01-02T07:35:00Z"));
    assert_eq!(world.status(), DatabaseStatus::Paused);
    world.pass(time("2026-01-02T07:38:00Z"));
    assert_eq!(world.status(), DatabaseStatus::Resuming, "1,100 seconds and a quarter more are 23 minutes");
}

#[test]
fn a_resume_that_brings_a_kept_change_says_nothing_of_the_next() {
    let mut world = daily();
    world.pass(time("2026-01-01T19:00:00Z"));
    let mut database = world.database();
    database.spec.storage_gb = 600;
    world.stage.database_put(database);
    world.pass(time("2026-01-02T09:00:00Z"));
    let database = world.database();
    assert_eq!((database.status, database.applied.map(|spec| spec.storage_gb)), (DatabaseStatus::Available, Some(600)));
    assert_eq!(database.resume_seconds, Vec::<u32>::new());
}

#[test]
fn a_schedule_that_goes_at_night_leaves_power_and_what_is_declared() {
    let mut world = daily();
    world.pass(time("2026-01-01T19:00:00Z"));
    let (schedule, power) = (world.schedule.take().unwrap(), world.power().unwrap());
    world.stage.quietly(vec![
        Write::ScheduleGone { id: schedule.id, expected: schedule.version },
        Write::ScheduledPowerGone { id: power.database_id, expected: power.version },
    ]);
    world.pass(time("2026-01-02T12:00:00Z"));
    let view = DatabaseView::of(&world.database());
    assert_eq!((view.status, view.power_state), (DatabaseStatus::Paused, Power::On));
    // Whoever switches it now has the last word.
    assert!(world.by_hand(Power::On));
    world.pass_minutes(30);
    assert!(world.by_hand(Power::Off));
    world.pass_minutes(30);
    let view = DatabaseView::of(&world.database());
    assert_eq!((view.status, view.power_state), (DatabaseStatus::Paused, Power::Off));
}

/// Databases and schedules for the crowd.
const CROWD: usize = 10_000;

fn id(number: usize) -> [u8; 16] {
    (number as u128 + 1).to_be_bytes()
}

/// Ten thousand databases that are to be paused in the same minute.
fn crowd() -> (Scheduled, Vec<DatabaseId>) {
    let world = Scheduled::new(SEED);
    let one = world.database();
    let at = world.now();
    let ids: Vec<DatabaseId> = (0..CROWD).map(|number| DatabaseId::from_random(id(number))).collect();
    for (number, members) in ids.chunks(kiven_model::schedule::DATABASES_MAX).enumerate() {
        let asked =
            ScheduleRequest { database_ids: members.iter().map(ToString::to_string).collect(), ..request("UTC", &[(DAILY, "08:00", "18:00")]) };
        let schedule = Schedule {
            id: ScheduleId::from_random(id(number)),
            organization_id: one.organization_id.clone(),
            spec: asked.validate().unwrap().into_inner(),
            created_at: at,
            updated_at: at,
            version: 1,
        };
        let mut writes = vec![Write::Schedule { record: Box::new(schedule.clone()), expected: None }];
        for member in members {
            let database = Database { id: member.clone(), version: 1, ..one.clone() };
            let power = ScheduledPower { next_due: Some(time("2026-01-01T18:00:00Z")), ..ScheduledPower::joined(&schedule, member.clone(), at) };
            writes.push(Write::Database { record: Box::new(database), expected: None });
            writes.push(Write::ScheduledPower { record: Box::new(power), expected: None });
        }
        world.stage.quietly(writes);
    }
    (world, ids)
}

#[test]
fn ten_thousand_schedules_in_one_minute_are_ten_thousand_small_writes() {
    let (world, ids) = crowd();
    world.stage.world.advance_to(time("2026-01-01T18:00:30Z").as_millisecond());
    assert_eq!(now(kiven_operations::ring_schedules(&*world.stage.world)).unwrap(), CROWD);
    let mut rings = Vec::new();
    while let Some(ring) = world.stage.world.take_tick() {
        rings.push(ring);
    }
    // The sweep reads the index and sends; a worker decides about fifty.
    assert_eq!((rings.len(), rings.iter().map(Vec::len).max()), (CROWD.div_ceil(TICKS_MAX), Some(TICKS_MAX)));
    assert_eq!(rings.iter().map(Vec::len).sum::<usize>(), CROWD);
    // Half of the rings are lost, a tenth comes twice: the next sweep rings for what is left, and only for that.
    let (heard, lost) = rings.split_at(rings.len() / 2);
    heard.iter().chain(heard.iter().take(rings.len() / 10)).for_each(|ring| world.tick(ring));
    assert_eq!(now(kiven_operations::ring_schedules(&*world.stage.world)).unwrap(), lost.iter().map(Vec::len).sum::<usize>());
    while let Some(ring) = world.stage.world.take_tick() {
        world.tick(&ring);
    }
    assert_eq!(now(kiven_operations::ring_schedules(&*world.stage.world)).unwrap(), 0);
    let mut operations: Vec<OperationId> = Vec::new();
    for id in &ids {
        let database = now(world.stage.world.database_get(id)).unwrap().unwrap();
        let power = now(world.stage.world.scheduled_power_get(id)).unwrap().unwrap();
        // Each database was written once, by the start of its pause; each small item once, by its decision.
        assert_eq!((database.status, database.version, power.version), (DatabaseStatus::Pausing, 2, 2));
        operations.extend(database.operation_id);
    }
    operations.sort();
    operations.dedup();
    assert_eq!(operations.len(), CROWD);
    assert!(world.now() < time("2026-01-01T18:01:00Z"), "{}", Clock::now(&*world.stage.world));
}
