//! What every implementation of [`Records`] must do for power schedules.
use super::records::{conflicts, failed, holds};
use super::values;
use crate::{Records, Write};
use jiff::{SignedDuration, Timestamp};
use kiven_model::schedule::{POWER_EVENTS_MAX, PowerEvent, PowerEventKind, Schedule, ScheduledPower};

const SEED: u8 = 5;

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

fn power(record: &ScheduledPower, expected: Option<u64>) -> Write {
    Write::ScheduledPower { record: Box::new(record.clone()), expected }
}

/// The part of the suite about schedules.
pub(super) async fn schedules<R: Records>(store: &R) -> Result<(), String> {
    let (Some(schedule), Some(other)) = (values::schedule(SEED, 20), values::schedule(SEED, 21)) else {
        return Err("sample schedules are valid".to_owned());
    };
    one_schedule_a_database(store, &schedule, &other).await?;
    due(store, &schedule).await?;
    events(store, &schedule).await?;
    ends(store, &schedule).await
}

async fn one_schedule_a_database<R: Records>(store: &R, schedule: &Schedule, other: &Schedule) -> Result<(), String> {
    let put = |schedule: &Schedule| {
        let joined = |id| ScheduledPower::joined(schedule, id, at(10));
        let mut writes = vec![Write::Schedule { record: Box::new(schedule.clone()), expected: None }];
        writes.extend(schedule.spec.database_ids.iter().cloned().map(|id| power(&joined(id), None)));
        writes
    };
    store.records_commit(put(schedule)).await.map_err(failed)?;
    conflicts(store.records_commit(put(other)).await, "a database is in one schedule at most")?;
    holds(store.schedule_get(&other.id).await.map_err(failed)?.is_none(), "and the second schedule is not made at all")?;
    holds(store.schedule_get(&schedule.id).await.map_err(failed)?.as_ref() == Some(schedule), "a schedule comes back as it was written")?;
    holds(store.schedule_list(&schedule.organization_id).await.map_err(failed)? == [schedule.clone()], "an organization lists its own")?;
    let stranger = values::environment(SEED + 1).organization_id;
    holds(store.schedule_list(&stranger).await.map_err(failed)?.is_empty(), "and no other's")
}

async fn due<R: Records>(store: &R, schedule: &Schedule) -> Result<(), String> {
    let Some(database) = schedule.spec.database_ids.first() else { return Err("it has a database".to_owned()) };
    let known = store.scheduled_power_get(database).await.map_err(failed)?.ok_or("what was joined is there")?;
    holds(known.schedule_id == schedule.id && known.version == 1, "it knows its schedule")?;
    holds(store.powers_due(at(5), 10).await.map_err(failed)?.is_empty(), "nothing is due before its time")?;
    holds(store.powers_due(at(10), 10).await.map_err(failed)? == [database.clone()], "it is due at its time")?;
    let moved = ScheduledPower { next_due: Some(at(100)), version: 2, ..known.clone() };
    store.records_commit(vec![power(&moved, Some(1))]).await.map_err(failed)?;
    conflicts(store.records_commit(vec![power(&moved, Some(1))]).await, "a stale version is refused")?;
    holds(store.powers_due(at(99), 10).await.map_err(failed)?.is_empty(), "a decision moves it on")?;
    let resting = ScheduledPower { next_due: None, version: 3, ..known };
    store.records_commit(vec![power(&resting, Some(2))]).await.map_err(failed)?;
    holds(store.powers_due(at(1_000_000), 10).await.map_err(failed)?.is_empty(), "without a due time it is not due")
}

async fn events<R: Records>(store: &R, schedule: &Schedule) -> Result<(), String> {
    let Some(database) = schedule.spec.database_ids.first() else { return Err("it has a database".to_owned()) };
    for number in 0..POWER_EVENTS_MAX + 10 {
        let event = PowerEvent {
            at: at(i64::try_from(number).unwrap_or_default()),
            schedule_id: schedule.id.clone(),
            kind: PowerEventKind::Pause,
            reason: format!("number {number}"),
            operation_id: None,
        };
        store.records_commit(vec![Write::PowerEvent(database.clone(), Box::new(event))]).await.map_err(failed)?;
    }
    let read = store.power_events(database).await.map_err(failed)?;
    holds(read.len() == POWER_EVENTS_MAX, "so many decisions and no more")?;
    holds(read.first().is_some_and(|event| event.reason == "number 109"), "the newest first")?;
    let database = values::database(SEED).ok_or("a sample")?;
    holds(store.database_get(&database.id).await.map_err(failed)?.is_none(), "a decision is no database")
}

async fn ends<R: Records>(store: &R, schedule: &Schedule) -> Result<(), String> {
    let Some(database) = schedule.spec.database_ids.first() else { return Err("it has a database".to_owned()) };
    let gone = |expected| {
        let leaves = Write::ScheduledPowerGone { id: database.clone(), expected };
        vec![Write::ScheduleGone { id: schedule.id.clone(), expected: 1 }, leaves]
    };
    conflicts(store.records_commit(gone(2)).await, "who leaves is fenced")?;
    holds(store.schedule_get(&schedule.id).await.map_err(failed)?.is_some(), "and then nothing goes")?;
    store.records_commit(gone(3)).await.map_err(failed)?;
    holds(store.schedule_get(&schedule.id).await.map_err(failed)?.is_none(), "a schedule ends")?;
    holds(store.scheduled_power_get(database).await.map_err(failed)?.is_none(), "and what it remembered")
}
