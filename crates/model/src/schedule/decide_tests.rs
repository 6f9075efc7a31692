//! Who wins, as stories: the facts, the minute, and what the schedule does, says and remembers.
use super::calendar_tests::{schedule, time};
use super::*;
use crate::Valid;
use crate::lifecycle::DatabaseStatus;
use crate::operation::OperationKind;
use expect_test::{Expect, expect};
use jiff::Timestamp;

// Monday 23 November 2026 to Friday 27, Paris: one hour ahead of UTC. All times below are UTC.
const WEEK: &str = "mon,tue,wed,thu,fri 08:00-18:00";
const MONDAY_ON: &str = "2026-11-23T07:00:00Z";
const MONDAY_OFF: &str = "2026-11-23T17:00:00Z";
const TUESDAY_ON: &str = "2026-11-24T07:00:00Z";

fn week() -> Valid<ScheduleSpec> {
    schedule("Europe/Paris", &[WEEK])
}
fn early() -> Valid<ScheduleSpec> {
    Valid::from_record(ScheduleSpec { ready_by: true, ..week().into_inner() })
}

/// A database that has followed its schedule since the first of the month and is in `status`.
fn database(status: DatabaseStatus) -> PowerFacts {
    PowerFacts {
        status,
        created_at: time("2026-11-01T00:00:00Z"),
        scheduled_since: time("2026-11-01T00:00:00Z"),
        last_manual_at: None,
        running: None,
        backup_running: false,
        access_lost: false,
        resume_seconds: Vec::new(),
        progress: Progress::default(),
    }
}
fn running(kind: OperationKind) -> Option<Running> {
    Some(Running { kind, past_no_return: false, cancel_requested: false })
}
fn settled(at: &str) -> Progress {
    Progress { settled: Some(time(at)), pending: None }
}
fn pending(boundary: &str, since: &str, attempts: u32, tried_at: Option<&str>) -> Progress {
    Progress {
        settled: None,
        pending: Some(Pending { boundary: time(boundary), since: time(since), attempts, tried_at: tried_at.map(time), stopped_at: None }),
    }
}

/// What was asked and answered: a line for what is done and why, one for what is remembered and when to ask again.
#[derive(Default)]
struct Story(String);

impl Story {
    fn ask(&mut self, spec: &Valid<ScheduleSpec>, facts: &PowerFacts, now: &str) -> Decision {
        let decision = decide(spec, facts, time(now));
        let Decision { action, reason, tell, progress, next_due } = &decision;
        let told = if *tell { "told" } else { "quiet" };
        let or_none = |at: Option<Timestamp>| at.map_or("-".to_owned(), |at| at.to_string());
        let pending = progress.pending.map_or("-".to_owned(), |p| format!("{} since {} tries {}", p.boundary, p.since, p.attempts));
        let (settled, next) = (or_none(progress.settled), or_none(*next_due));
        self.0.push_str(&format!("{now} {action:?}, {told}: {reason}\n    settled {settled}, pending {pending}, next {next}\n"));
        decision
    }
    fn is(self, expected: Expect) {
        expected.assert_eq(&self.0);
    }
}

use DatabaseStatus::{Available, Deleting, Grace, Paused, Pausing, Provisioning, Resuming, Stuck};

#[test]
fn a_day_from_boundary_to_boundary() {
    let mut story = Story::default();
    let spec = week();
    let mut facts = PowerFacts { progress: settled(MONDAY_ON), ..database(Available) };
    story.ask(&spec, &facts, "2026-11-23T12:00:00Z");
    let decision = story.ask(&spec, &facts, MONDAY_OFF);
    (facts.progress, facts.status, facts.running) = (decision.progress, Pausing, running(OperationKind::Pause));
    facts.progress = story.ask(&spec, &facts, "2026-11-23T17:01:00Z").progress;
    (facts.status, facts.running) = (Paused, None);
    facts.progress = story.ask(&spec, &facts, "2026-11-23T17:05:00Z").progress;
    story.ask(&spec, &facts, "2026-11-23T23:00:00Z");
    let decision = story.ask(&spec, &facts, TUESDAY_ON);
    (facts.progress, facts.status, facts.running) = (decision.progress, Resuming, running(OperationKind::Resume));
    facts.progress = story.ask(&spec, &facts, "2026-11-24T07:05:00Z").progress;
    (facts.status, facts.running) = (Available, None);
    story.ask(&spec, &facts, "2026-11-24T07:10:00Z");
    story.is(expect![[r#"
        2026-11-23T12:00:00Z Nothing(Settled), quiet: nothing is due
            settled 2026-11-23T07:00:00Z, pending -, next 2026-11-23T17:00:00Z
        2026-11-23T17:00:00Z Pause, told: scheduled pause of Mon 2026-11-23 18:00 Europe/Paris: begins
            settled 2026-11-23T07:00:00Z, pending 2026-11-23T17:00:00Z since 2026-11-23T17:00:00Z tries 1, next 2026-11-23T17:05:00Z
        2026-11-23T17:01:00Z Nothing(UnderWay), quiet: scheduled pause of Mon 2026-11-23 18:00 Europe/Paris: is under way
            settled 2026-11-23T07:00:00Z, pending 2026-11-23T17:00:00Z since 2026-11-23T17:00:00Z tries 1, next 2026-11-23T17:06:00Z
        2026-11-23T17:05:00Z Nothing(AlreadyThere), quiet: scheduled pause of Mon 2026-11-23 18:00 Europe/Paris: the database is paused
            settled 2026-11-23T17:00:00Z, pending -, next 2026-11-24T07:00:00Z
        2026-11-23T23:00:00Z Nothing(Settled), quiet: nothing is due
            settled 2026-11-23T17:00:00Z, pending -, next 2026-11-24T07:00:00Z
        2026-11-24T07:00:00Z Resume, told: scheduled resume of Tue 2026-11-24 08:00 Europe/Paris: begins
            settled 2026-11-23T17:00:00Z, pending 2026-11-24T07:00:00Z since 2026-11-24T07:00:00Z tries 1, next 2026-11-24T07:05:00Z
        2026-11-24T07:05:00Z Nothing(UnderWay), quiet: scheduled resume of Tue 2026-11-24 08:00 Europe/Paris: is under way
            settled 2026-11-23T17:00:00Z, pending 2026-11-24T07:00:00Z since 2026-11-24T07:00:00Z tries 1, next 2026-11-24T07:10:00Z
        2026-11-24T07:10:00Z Nothing(AlreadyThere), quiet: scheduled resume of Tue 2026-11-24 08:00 Europe/Paris: the database is on
            settled 2026-11-24T07:00:00Z, pending -, next 2026-11-24T17:00:00Z
    "#]]);
}

#[test]
fn creation_manual_actions_and_changes_of_the_schedule_hold_until_the_next_boundary() {
    let mut story = Story::default();
    let spec = week();
    let created = PowerFacts { created_at: time("2026-11-23T18:00:00Z"), ..database(Available) };
    story.ask(&spec, &created, "2026-11-23T18:00:00Z");
    let resumed = PowerFacts { last_manual_at: Some(time("2026-11-23T19:00:00Z")), progress: settled(MONDAY_OFF), ..database(Available) };
    story.ask(&spec, &resumed, "2026-11-23T19:00:00Z");
    story.ask(&spec, &resumed, TUESDAY_ON);
    // The action came while no tick did; the boundary before it is left out, not done late.
    let missed = PowerFacts { progress: settled(MONDAY_ON), ..resumed };
    story.ask(&spec, &missed, "2026-11-23T20:00:00Z");
    let at_the_boundary = PowerFacts { last_manual_at: Some(time(MONDAY_OFF)), progress: settled(MONDAY_ON), ..database(Available) };
    story.ask(&spec, &at_the_boundary, MONDAY_OFF);
    let just_before = PowerFacts { last_manual_at: Some(time("2026-11-23T16:59:59Z")), ..at_the_boundary };
    story.ask(&spec, &just_before, MONDAY_OFF);
    let new_schedule = PowerFacts { scheduled_since: time("2026-11-23T18:00:00Z"), ..database(Available) };
    story.ask(&spec, &new_schedule, "2026-11-23T18:00:00Z");
    // A pause that waits gives way to a person, too.
    let waiting =
        PowerFacts { last_manual_at: Some(time("2026-11-23T17:10:00Z")), progress: pending(MONDAY_OFF, MONDAY_OFF, 0, None), ..database(Available) };
    story.ask(&spec, &waiting, "2026-11-23T17:10:00Z");
    story.is(expect![[r#"
        2026-11-23T18:00:00Z Nothing(Held(Creation)), told: scheduled pause of Mon 2026-11-23 18:00 Europe/Paris: left out, the database was created after it
            settled 2026-11-23T17:00:00Z, pending -, next 2026-11-24T07:00:00Z
        2026-11-23T19:00:00Z Nothing(Settled), quiet: nothing is due
            settled 2026-11-23T17:00:00Z, pending -, next 2026-11-24T07:00:00Z
        2026-11-24T07:00:00Z Nothing(AlreadyThere), told: scheduled resume of Tue 2026-11-24 08:00 Europe/Paris: the database is on
            settled 2026-11-24T07:00:00Z, pending -, next 2026-11-24T17:00:00Z
        2026-11-23T20:00:00Z Nothing(Held(Manual)), told: scheduled pause of Mon 2026-11-23 18:00 Europe/Paris: left out, power was set by hand after it
            settled 2026-11-23T17:00:00Z, pending -, next 2026-11-24T07:00:00Z
        2026-11-23T17:00:00Z Nothing(Held(Manual)), told: scheduled pause of Mon 2026-11-23 18:00 Europe/Paris: left out, power was set by hand after it
            settled 2026-11-23T17:00:00Z, pending -, next 2026-11-24T07:00:00Z
        2026-11-23T17:00:00Z Pause, told: scheduled pause of Mon 2026-11-23 18:00 Europe/Paris: begins
            settled 2026-11-23T07:00:00Z, pending 2026-11-23T17:00:00Z since 2026-11-23T17:00:00Z tries 1, next 2026-11-23T17:05:00Z
        2026-11-23T18:00:00Z Nothing(Held(Schedule)), told: scheduled pause of Mon 2026-11-23 18:00 Europe/Paris: left out, the schedule was changed after it
            settled 2026-11-23T17:00:00Z, pending -, next 2026-11-24T07:00:00Z
        2026-11-23T17:10:00Z Nothing(Held(Manual)), told: scheduled pause of Mon 2026-11-23 18:00 Europe/Paris: left out, power was set by hand after it
            settled 2026-11-23T17:00:00Z, pending -, next 2026-11-24T07:00:00Z
    "#]]);
}

#[test]
fn a_pause_waits_for_what_runs_and_is_skipped_when_that_takes_too_long() {
    let mut story = Story::default();
    let spec = week();
    let mut facts = PowerFacts { backup_running: true, progress: settled(MONDAY_ON), ..database(Available) };
    facts.progress = story.ask(&spec, &facts, MONDAY_OFF).progress;
    story.ask(&spec, &facts, "2026-11-23T18:59:30Z");
    story.ask(&spec, &facts, "2026-11-23T19:00:00Z");
    let over = PowerFacts { backup_running: false, ..facts.clone() };
    story.ask(&spec, &over, "2026-11-23T18:20:00Z");
    // Whatever runs, it is waited for; a resume and a provision as well.
    for (status, kind) in [(Available, OperationKind::Connect), (Resuming, OperationKind::Resume), (Provisioning, OperationKind::Provision)] {
        let facts = PowerFacts { status, running: running(kind), backup_running: false, ..facts.clone() };
        assert!(matches!(decide(&spec, &facts, time(MONDAY_OFF)).action, Action::Wait { .. }), "{kind:?}");
    }
    story.is(expect![[r#"
        2026-11-23T17:00:00Z Wait { until: 2026-11-23T19:00:00Z }, told: scheduled pause of Mon 2026-11-23 18:00 Europe/Paris: waits for a backup to end
            settled 2026-11-23T07:00:00Z, pending 2026-11-23T17:00:00Z since 2026-11-23T17:00:00Z tries 0, next 2026-11-23T17:01:00Z
        2026-11-23T18:59:30Z Wait { until: 2026-11-23T19:00:00Z }, quiet: scheduled pause of Mon 2026-11-23 18:00 Europe/Paris: waits for a backup to end
            settled 2026-11-23T07:00:00Z, pending 2026-11-23T17:00:00Z since 2026-11-23T17:00:00Z tries 0, next 2026-11-23T19:00:00Z
        2026-11-23T19:00:00Z Skip(WaitedTooLong), told: scheduled pause of Mon 2026-11-23 18:00 Europe/Paris: a backup still runs after 120 minutes; power stays as it is until the next boundary
            settled 2026-11-23T17:00:00Z, pending -, next 2026-11-24T07:00:00Z
        2026-11-23T18:20:00Z Pause, told: scheduled pause of Mon 2026-11-23 18:00 Europe/Paris: begins 80 minutes late: what it waited for is over
            settled 2026-11-23T07:00:00Z, pending 2026-11-23T17:00:00Z since 2026-11-23T17:00:00Z tries 1, next 2026-11-23T18:25:00Z
    "#]]);
}

#[test]
fn a_resume_cancels_a_pause_that_has_not_hibernated_and_waits_for_one_that_has() {
    let mut story = Story::default();
    let spec = week();
    let pausing = |past_no_return, cancel_requested| PowerFacts {
        running: Some(Running { kind: OperationKind::Pause, past_no_return, cancel_requested }),
        progress: settled(MONDAY_OFF),
        ..database(Pausing)
    };
    story.ask(&spec, &pausing(false, false), TUESDAY_ON);
    story.ask(&spec, &pausing(false, true), "2026-11-24T07:01:00Z");
    story.ask(&spec, &pausing(true, false), TUESDAY_ON);
    // A pause that somebody asked for after the boundary is theirs.
    let theirs = PowerFacts { last_manual_at: Some(time("2026-11-24T07:00:30Z")), ..pausing(false, false) };
    story.ask(&spec, &theirs, "2026-11-24T07:01:00Z");
    story.is(expect![[r#"
        2026-11-24T07:00:00Z CancelPause, told: scheduled resume of Tue 2026-11-24 08:00 Europe/Paris: cancels the pause, which has not hibernated yet
            settled 2026-11-23T17:00:00Z, pending 2026-11-24T07:00:00Z since 2026-11-24T07:00:00Z tries 0, next 2026-11-24T07:01:00Z
        2026-11-24T07:01:00Z Nothing(UnderWay), told: scheduled resume of Tue 2026-11-24 08:00 Europe/Paris: is under way
            settled 2026-11-23T17:00:00Z, pending 2026-11-24T07:00:00Z since 2026-11-24T07:01:00Z tries 0, next 2026-11-24T07:02:00Z
        2026-11-24T07:00:00Z Wait { until: 2026-11-24T17:00:00Z }, told: scheduled resume of Tue 2026-11-24 08:00 Europe/Paris: waits for the operation pause to end
            settled 2026-11-23T17:00:00Z, pending 2026-11-24T07:00:00Z since 2026-11-24T07:00:00Z tries 0, next 2026-11-24T07:01:00Z
        2026-11-24T07:01:00Z Nothing(Held(Manual)), told: scheduled resume of Tue 2026-11-24 08:00 Europe/Paris: left out, power was set by hand after it
            settled 2026-11-24T07:00:00Z, pending -, next 2026-11-24T17:00:00Z
    "#]]);
}

#[test]
fn missed_ticks_collapse_into_the_latest_wanted_state() {
    let mut story = Story::default();
    let spec = week();
    let facts = PowerFacts { progress: settled(MONDAY_ON), ..database(Available) };
    story.ask(&spec, &facts, "2026-11-25T02:30:00Z");
    story.ask(&spec, &facts, "2026-11-25T09:00:00Z");
    // However long nobody looked.
    story.ask(&spec, &database(Available), "2027-06-12T12:00:00Z");
    story.is(expect![[r#"
        2026-11-25T02:30:00Z Pause, told: scheduled pause of Tue 2026-11-24 18:00 Europe/Paris: begins 570 minutes late: nothing could be decided earlier
            settled 2026-11-23T07:00:00Z, pending 2026-11-24T17:00:00Z since 2026-11-25T02:30:00Z tries 1, next 2026-11-25T02:35:00Z
        2026-11-25T09:00:00Z Nothing(AlreadyThere), told: scheduled resume of Wed 2026-11-25 08:00 Europe/Paris: the database is on
            settled 2026-11-25T07:00:00Z, pending -, next 2026-11-25T17:00:00Z
        2027-06-12T12:00:00Z Pause, told: scheduled pause of Fri 2027-06-11 18:00 Europe/Paris: begins 1200 minutes late: nothing could be decided earlier
            settled -, pending 2027-06-11T16:00:00Z since 2027-06-12T12:00:00Z tries 1, next 2027-06-12T12:05:00Z
    "#]]);
}

#[test]
fn a_failed_try_is_repeated_in_bounds_and_then_told() {
    let mut story = Story::default();
    let spec = week();
    let facts = |progress| PowerFacts { progress, ..database(Available) };
    let first = pending(MONDAY_OFF, MONDAY_OFF, 1, Some(MONDAY_OFF));
    story.ask(&spec, &facts(first), "2026-11-23T17:02:00Z");
    story.ask(&spec, &facts(first), "2026-11-23T17:05:00Z");
    let third = pending(MONDAY_OFF, MONDAY_OFF, ATTEMPTS_MAX, Some("2026-11-23T17:10:00Z"));
    story.ask(&spec, &facts(third), "2026-11-23T17:15:00Z");
    story.is(expect![[r#"
        2026-11-23T17:02:00Z Wait { until: 2026-11-23T17:05:00Z }, quiet: scheduled pause of Mon 2026-11-23 18:00 Europe/Paris: has failed and is tried again
            settled -, pending 2026-11-23T17:00:00Z since 2026-11-23T17:00:00Z tries 1, next 2026-11-23T17:03:00Z
        2026-11-23T17:05:00Z Pause, told: scheduled pause of Mon 2026-11-23 18:00 Europe/Paris: begins again, try 2 of 3
            settled -, pending 2026-11-23T17:00:00Z since 2026-11-23T17:00:00Z tries 2, next 2026-11-23T17:10:00Z
        2026-11-23T17:15:00Z Skip(FailedTooOften), told: scheduled pause of Mon 2026-11-23 18:00 Europe/Paris: has failed 3 times and is given up; power stays as it is until the next boundary
            settled 2026-11-23T17:00:00Z, pending -, next 2026-11-24T07:00:00Z
    "#]]);
}

#[test]
fn disabled_deleted_stuck_and_unreachable_databases_are_left_alone() {
    let mut story = Story::default();
    let disabled = Valid::from_record(ScheduleSpec { enabled: false, ..week().into_inner() });
    story.ask(&disabled, &database(Available), MONDAY_OFF);
    story.ask(&week(), &database(Deleting), MONDAY_OFF);
    story.ask(&week(), &database(Grace), TUESDAY_ON);
    story.ask(&week(), &database(Stuck), MONDAY_OFF);
    let lost = PowerFacts { access_lost: true, ..database(Available) };
    story.ask(&week(), &lost, MONDAY_OFF);
    story.is(expect![[r#"
        2026-11-23T17:00:00Z Nothing(Disabled), quiet: the schedule is disabled, power stays as it is
            settled -, pending -, next -
        2026-11-23T17:00:00Z Nothing(Gone), quiet: the database is deleted or being deleted
            settled -, pending -, next -
        2026-11-24T07:00:00Z Nothing(Gone), quiet: the database is deleted or being deleted
            settled -, pending -, next -
        2026-11-23T17:00:00Z Nothing(Stuck), told: scheduled pause of Mon 2026-11-23 18:00 Europe/Paris: cannot be done, the database is stuck
            settled -, pending 2026-11-23T17:00:00Z since 2026-11-23T17:00:00Z tries 0, next 2026-11-24T07:00:00Z
        2026-11-23T17:00:00Z Nothing(AccessLost), told: scheduled pause of Mon 2026-11-23 18:00 Europe/Paris: cannot be done, the environment's access is lost
            settled -, pending 2026-11-23T17:00:00Z since 2026-11-23T17:00:00Z tries 0, next 2026-11-23T17:05:00Z
    "#]]);
}

#[test]
fn ready_by_begins_early_by_the_databases_own_resumes() {
    let mut story = Story::default();
    let spec = early();
    let mut facts = PowerFacts { progress: settled(MONDAY_OFF), resume_seconds: vec![220; 5], ..database(Paused) };
    story.ask(&spec, &facts, "2026-11-23T23:00:00Z");
    let decision = story.ask(&spec, &facts, "2026-11-24T06:55:00Z");
    // Its own resume makes the estimate longer or shorter: what has begun has begun.
    (facts.progress, facts.status, facts.running) = (decision.progress, Available, None);
    facts.resume_seconds = vec![60; 20];
    facts.progress = story.ask(&spec, &facts, "2026-11-24T06:56:00Z").progress;
    // A person who pauses it after the early start has seen it: theirs until the evening.
    (facts.status, facts.last_manual_at) = (Paused, Some(time("2026-11-24T06:57:00Z")));
    story.ask(&spec, &facts, "2026-11-24T06:59:00Z");
    story.ask(&spec, &facts, TUESDAY_ON);
    // One who pauses it before the early start has not: it is on at eight.
    let before = PowerFacts { progress: settled(MONDAY_OFF), last_manual_at: Some(time("2026-11-24T06:40:00Z")), ..database(Paused) };
    story.ask(&spec, &before, "2026-11-24T06:50:00Z");
    // A schedule made between the early start and the boundary means the boundary.
    let made = PowerFacts { scheduled_since: time("2026-11-24T06:57:00Z"), ..database(Paused) };
    story.ask(&spec, &made, "2026-11-24T06:57:00Z");
    story.is(expect![[r#"
        2026-11-23T23:00:00Z Nothing(Settled), quiet: nothing is due
            settled 2026-11-23T17:00:00Z, pending -, next 2026-11-24T06:30:00Z
        2026-11-24T06:55:00Z Resume, told: scheduled resume of Tue 2026-11-24 08:00 Europe/Paris: begins 5 minutes early to be ready in time
            settled 2026-11-23T17:00:00Z, pending 2026-11-24T07:00:00Z since 2026-11-24T06:55:00Z tries 1, next 2026-11-24T07:00:00Z
        2026-11-24T06:56:00Z Nothing(AlreadyThere), quiet: scheduled resume of Tue 2026-11-24 08:00 Europe/Paris: the database is on
            settled 2026-11-24T07:00:00Z, pending -, next 2026-11-24T17:00:00Z
        2026-11-24T06:59:00Z Nothing(Settled), quiet: nothing is due
            settled 2026-11-24T07:00:00Z, pending -, next 2026-11-24T17:00:00Z
        2026-11-24T07:00:00Z Nothing(Settled), quiet: nothing is due
            settled 2026-11-24T07:00:00Z, pending -, next 2026-11-24T17:00:00Z
        2026-11-24T06:50:00Z Resume, told: scheduled resume of Tue 2026-11-24 08:00 Europe/Paris: begins 10 minutes early to be ready in time
            settled 2026-11-23T17:00:00Z, pending 2026-11-24T07:00:00Z since 2026-11-24T06:50:00Z tries 1, next 2026-11-24T06:55:00Z
        2026-11-24T06:57:00Z Resume, told: scheduled resume of Tue 2026-11-24 08:00 Europe/Paris: begins 7 minutes late: nothing could be decided earlier
            settled -, pending 2026-11-24T07:00:00Z since 2026-11-24T06:57:00Z tries 1, next 2026-11-24T07:02:00Z
    "#]]);
}

#[test]
fn a_break_shorter_than_the_lead_is_no_break() {
    let mut story = Story::default();
    let lunch = schedule("Europe/Paris", &["mon 08:00-12:00", "mon 12:05-18:00"]);
    let lunch = Valid::from_record(ScheduleSpec { ready_by: true, ..lunch.into_inner() });
    let facts = PowerFacts { progress: settled(MONDAY_ON), ..database(Available) };
    story.ask(&lunch, &facts, "2026-11-23T11:00:00Z");
    story.is(expect![[r#"
        2026-11-23T11:00:00Z Nothing(Settled), quiet: nothing is due
            settled 2026-11-23T07:00:00Z, pending -, next 2026-11-23T17:00:00Z
    "#]]);
}

#[test]
fn the_weekend_of_the_change_to_summer_time_is_ready_by_eight() {
    let mut story = Story::default();
    let mut facts = PowerFacts { created_at: time("2026-03-01T00:00:00Z"), scheduled_since: time("2026-03-01T00:00:00Z"), ..database(Available) };
    facts.progress = settled("2026-03-27T07:00:00Z");
    story.ask(&early(), &facts, "2026-03-27T17:00:00Z");
    facts = PowerFacts { status: Paused, progress: settled("2026-03-27T17:00:00Z"), ..facts };
    story.ask(&early(), &facts, "2026-03-30T05:50:00Z");
    story.is(expect![[r#"
        2026-03-27T17:00:00Z Pause, told: scheduled pause of Fri 2026-03-27 18:00 Europe/Paris: begins
            settled 2026-03-27T07:00:00Z, pending 2026-03-27T17:00:00Z since 2026-03-27T17:00:00Z tries 1, next 2026-03-27T17:05:00Z
        2026-03-30T05:50:00Z Resume, told: scheduled resume of Mon 2026-03-30 08:00 Europe/Paris: begins 10 minutes early to be ready in time
            settled 2026-03-27T17:00:00Z, pending 2026-03-30T06:00:00Z since 2026-03-30T05:50:00Z tries 1, next 2026-03-30T05:55:00Z
    "#]]);
}
