//! What every implementation of [`Agents`] must do.
use super::values;
use crate::agents::CommandState;
use crate::{Agents, PortError};
use jiff::Timestamp;
use kiven_model::command::{Command, CommandBody, CommandOutcome, CommandOutput};
use kiven_model::event::{DATABASE_EVENTS_MAX, DatabaseEvent, Happening};
use kiven_model::report::{AgentFacts, AgentRecord, Observation};
use kiven_model::{Code, DatabaseId, OperationId, Problem};

fn holds(condition: bool, rule: &str) -> Result<(), String> {
    if condition { Ok(()) } else { Err(rule.to_owned()) }
}

fn failed(error: PortError) -> String {
    format!("unexpected: {error}")
}

fn command(key: &str) -> Command {
    let operation_id = OperationId::from_random([4; 16]);
    Command {
        id: format!("{operation_id}/{key}"),
        environment_id: values::environment(1).id,
        operation_id,
        database_id: None,
        fence: 1,
        not_after: Timestamp::MAX,
        body: CommandBody::Inspect,
    }
}

/// Runs the suite on an empty store.
///
/// # Errors
/// The first rule that does not hold.
pub async fn agents<A: Agents>(agents: &A) -> Result<(), String> {
    commands(agents).await?;
    withdrawal(agents).await?;
    sayings(agents).await?;
    events(agents).await
}

async fn commands<A: Agents>(agents: &A) -> Result<(), String> {
    let (first, second) = (command("first"), command("second"));
    for one in [&first, &second, &first] {
        agents.command_send(one).await.map_err(failed)?;
    }
    let due = agents.commands_due(&first.environment_id, 7).await.map_err(failed)?;
    holds(due == [first.clone(), second.clone()], "commands are due once, in order of sending")?;
    holds(agents.command_delivered(&first.id, 7).await.map_err(failed)?, "a pending command may be handed over")?;
    holds(agents.commands_due(&first.environment_id, 7).await.map_err(failed)? == [second.clone()], "and not twice to one session")?;
    holds(agents.commands_due(&first.environment_id, 8).await.map_err(failed)?.len() == 2, "but again to the next session")?;
    let retry = CommandOutcome::Retry(Problem::new(Code::AGENT_FAILED, "not now"));
    let done = CommandOutcome::Done(CommandOutput::Nothing);
    // A retry is an end as any other: the step that asks again sends another command.
    for (one, end, late) in [(&first, &retry, &done), (&second, &done, &retry)] {
        agents.command_answer(&one.id, end).await.map_err(failed)?;
        agents.command_answer(&one.id, late).await.map_err(failed)?;
        let state = agents.command_get(&one.id).await.map_err(failed)?.map(|record| record.state);
        holds(state == Some(CommandState::Answered(end.clone())), "the first answer stays")?;
        holds(!agents.command_delivered(&one.id, 8).await.map_err(failed)?, "an answered command is not handed over")?;
    }
    holds(agents.commands_due(&first.environment_id, 8).await.map_err(failed)?.is_empty(), "an answered command is not due")?;
    agents.command_send(&first).await.map_err(failed)?;
    holds(!agents.commands_due(&first.environment_id, 8).await.map_err(failed)?.contains(&first), "sending it again does not open it")
}

async fn withdrawal<A: Agents>(agents: &A) -> Result<(), String> {
    let (pending, delivered) = (command("withdrawn"), command("too-late"));
    holds(agents.command_withdraw(&pending.id).await.map_err(failed)?.is_none(), "what was never sent cannot be withdrawn")?;
    agents.command_send(&pending).await.map_err(failed)?;
    agents.command_send(&delivered).await.map_err(failed)?;
    agents.command_delivered(&delivered.id, 7).await.map_err(failed)?;
    holds(agents.command_withdraw(&pending.id).await.map_err(failed)? == Some(CommandState::Withdrawn), "a pending command can be withdrawn")?;
    holds(!agents.command_delivered(&pending.id, 7).await.map_err(failed)?, "and is then not handed over")?;
    agents.command_send(&pending).await.map_err(failed)?;
    holds(agents.command_get(&pending.id).await.map_err(failed)?.map(|r| r.state) == Some(CommandState::Withdrawn), "nor sent again")?;
    let state = agents.command_withdraw(&delivered.id).await.map_err(failed)?;
    holds(state == Some(CommandState::Delivered { session: 7 }), "a delivered one cannot be withdrawn")
}

async fn sayings<A: Agents>(agents: &A) -> Result<(), String> {
    let facts = AgentFacts {
        agent_version: "1".into(),
        kubernetes_version: "1.34".into(),
        operator_version: Some("1.30.0".into()),
        storage_class: true,
        postgres_versions: vec![15],
        loose_volumes: Vec::new(),
        cluster: None,
    };
    let record = |session| AgentRecord { environment_id: values::environment(1).id, session, seen_at: Timestamp::UNIX_EPOCH, facts: facts.clone() };
    for session in [5, 6, 5] {
        agents.agent_put(&record(session)).await.map_err(failed)?;
    }
    holds(agents.agent_get(&record(1).environment_id).await.map_err(failed)? == Some(record(6)), "an older session's word changes nothing")?;
    let observation = |ready| Observation {
        database_id: DatabaseId::from_random([5; 16]),
        cluster: "c".into(),
        exists: true,
        phase: String::new(),
        instances: 3,
        ready_instances: ready,
        primary: None,
        system_identifier: None,
        hibernated: false,
        archiving: false,
        pooler_ready: 0,
        pods: 0,
        volumes: vec![],
        published: Default::default(),
        current: true,
        zones: std::collections::BTreeMap::new(),
        backup_running: false,
        primary_zone: None,
        certificate_ends_at: None,
        backup_completed: false,
    };
    for (ready, order) in [(1, (1, 9)), (2, (2, 1)), (3, (1, 10))] {
        agents.observation_put(&observation(ready), order).await.map_err(failed)?;
    }
    let seen = agents.observation_get(&observation(0).database_id, "c").await.map_err(failed)?;
    holds(seen.map(|o| o.ready_instances) == Some(2), "observations are ordered by session and sequence")
}

async fn events<A: Agents>(agents: &A) -> Result<(), String> {
    let database_id = DatabaseId::from_random([6; 16]);
    let event = |second: i64, backup: &str| DatabaseEvent {
        database_id: database_id.clone(),
        at: Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(second),
        what: Happening::BackupDone { backup: backup.to_owned() },
    };
    for one in [event(2, "b"), event(1, "a"), event(2, "c"), event(2, "b")] {
        agents.event_put(&one).await.map_err(failed)?;
    }
    let read = agents.event_list(&database_id).await.map_err(failed)?;
    holds(read.len() == 3 && read.last() == Some(&event(1, "a")), "events are read newest first, each once however often it is told")?;
    for second in 0..DATABASE_EVENTS_MAX as i64 {
        agents.event_put(&event(10 + second, "later")).await.map_err(failed)?;
    }
    let read = agents.event_list(&database_id).await.map_err(failed)?;
    holds(read.len() == DATABASE_EVENTS_MAX && read.iter().all(|one| one.what.subject() == "later"), "so many events and no more")?;
    let nobodys = agents.event_list(&DatabaseId::from_random([7; 16])).await.map_err(failed)?;
    holds(nobodys.is_empty(), "events are their own database's")
}
