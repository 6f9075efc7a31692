//! What every implementation of [`Agents`] must do.
use super::values;
use crate::agents::{Claimed, CommandState, SessionClaim};
use crate::{Agents, PortError, Records, Write};
use jiff::Timestamp;
use kiven_model::command::{Command, CommandBody, CommandOutcome, CommandOutput};
use kiven_model::event::{DATABASE_EVENTS_MAX, DatabaseEvent, Happening};
use kiven_model::logs::{BATCHES_MAX, SealedBatch};
use kiven_model::report::{AgentFacts, AgentRecord, Observation};
use kiven_model::{Code, DatabaseId, EnvironmentId, LogSessionId, OperationId, Problem};

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

/// A claim of the environment's agent by a relay.
fn claim(environment: u8, session: u64) -> SessionClaim {
    let environment_id = values::environment(environment).id;
    SessionClaim { environment_id, session, relay: format!("relay of {session}"), certified_at: CERTIFIED }
}

/// When the agents' certificates became good.
const CERTIFIED: Timestamp = Timestamp::constant(1_000, 0);

async fn owned<A: Agents>(agents: &A, claim: &SessionClaim) -> Result<u64, String> {
    match agents.session_claim(claim).await.map_err(failed)? {
        Claimed::Owned { epoch } => Ok(epoch),
        other => Err(format!("a claim of a later session is granted: {other:?}")),
    }
}

fn ids(commands: &[&Command]) -> Vec<String> {
    commands.iter().map(|command| command.id.clone()).collect()
}

/// Runs the suite on an empty store.
///
/// # Errors
/// The first rule that does not hold.
pub async fn agents<A: Agents + Records>(agents: &A) -> Result<(), String> {
    commands(agents).await?;
    ownership(agents).await?;
    calls(agents).await?;
    withdrawal(agents).await?;
    sayings(agents).await?;
    batches(agents).await?;
    events(agents).await
}

async fn commands<A: Agents>(agents: &A) -> Result<(), String> {
    let (first, second) = (command("first"), command("second"));
    let environment = &first.environment_id;
    for one in [&first, &second, &first] {
        agents.command_send(one).await.map_err(failed)?;
    }
    let epoch = owned(agents, &claim(1, 7)).await?;
    let due = agents.commands_due(environment, 7).await.map_err(failed)?;
    holds(due == ids(&[&first, &second]), "commands are due once, in order of sending")?;
    let taken = agents.command_take(&first.id, 7, epoch).await.map_err(failed)?;
    holds(taken.as_ref() == Some(&first), "a pending command may be handed over")?;
    holds(agents.commands_due(environment, 7).await.map_err(failed)? == ids(&[&second]), "and not twice to one session")?;
    holds(agents.commands_due(environment, 8).await.map_err(failed)?.len() == 2, "but again to the next session")?;
    let retry = CommandOutcome::Retry(Problem::new(Code::AGENT_FAILED, "not now"));
    let done = CommandOutcome::Done(CommandOutput::Nothing);
    // A retry is an end as any other: the step that asks again sends another command.
    for (one, end, late) in [(&first, &retry, &done), (&second, &done, &retry)] {
        agents.command_answer(&one.id, end).await.map_err(failed)?;
        agents.command_answer(&one.id, late).await.map_err(failed)?;
        let state = agents.command_get(&one.id).await.map_err(failed)?.map(|record| record.state);
        holds(state == Some(CommandState::Answered(end.clone())), "the first answer stays")?;
        holds(agents.command_take(&one.id, 7, epoch).await.map_err(failed)?.is_none(), "an answered command is not handed over")?;
    }
    holds(agents.commands_due(environment, 8).await.map_err(failed)?.is_empty(), "an answered command is not due")?;
    agents.command_send(&first).await.map_err(failed)?;
    holds(!agents.commands_due(environment, 8).await.map_err(failed)?.contains(&first.id), "sending it again does not open it")
}

async fn ownership<A: Agents + Records>(agents: &A) -> Result<(), String> {
    let environment = values::environment(3).id;
    let asked = Command { environment_id: environment.clone(), ..command("owned") };
    agents.command_send(&asked).await.map_err(failed)?;
    holds(agents.session_epoch(&environment).await.map_err(failed)? == 0, "before the first claim the epoch is 0")?;
    let first = owned(agents, &claim(3, 10)).await?;
    let second = owned(agents, &claim(3, 20)).await?;
    holds(second > first, "every claim has a greater epoch")?;
    for late in [10, 20] {
        let lost = agents.session_claim(&claim(3, late)).await.map_err(failed)?;
        holds(lost == Claimed::Superseded { session: 20 }, "a session that is not later claims nothing, and learns which is")?;
    }
    holds(agents.session_epoch(&environment).await.map_err(failed)? == second, "a claim that was lost changes nothing")?;
    let stale = agents.command_take(&asked.id, 10, first).await;
    holds(matches!(stale, Err(PortError::Conflict(_))), "an earlier epoch takes no command")?;
    holds(agents.commands_due(&environment, 20).await.map_err(failed)? == ids(&[&asked]), "which stays due to the newest")?;
    agents.records_commit(vec![revocation(&environment, CERTIFIED)]).await.map_err(failed)?;
    let kept = owned(agents, &claim(3, 30)).await?;
    holds(kept > second + 1, "a revocation ends the epoch, and a certificate of just then is good")?;
    let later = Timestamp::constant(1_001, 0);
    for before in [later, CERTIFIED] {
        agents.records_commit(vec![revocation(&environment, before)]).await.map_err(failed)?;
        let stale = agents.command_take(&asked.id, 30, kept).await;
        holds(matches!(stale, Err(PortError::Conflict(_))), "after a revocation nobody takes a command")?;
        holds(agents.session_claim(&claim(3, 40)).await.map_err(failed)? == Claimed::Revoked, "with a revoked certificate nobody claims")?;
    }
    let fresh = owned(agents, &SessionClaim { certified_at: later, ..claim(3, 40) }).await?;
    holds(agents.command_take(&asked.id, 40, fresh).await.map_err(failed)? == Some(asked), "a later certificate does")
}

fn revocation(environment: &EnvironmentId, before: Timestamp) -> Write {
    Write::AgentsRevoked { environment: environment.clone(), before }
}

async fn calls<A: Agents>(agents: &A) -> Result<(), String> {
    let now = Timestamp::constant(4_000_000_000, 0);
    let later = Timestamp::constant(4_000_000_001, 0);
    let environment = values::environment(4).id;
    let asked = Command { environment_id: environment.clone(), not_after: later, ..command("called") };
    let called = async |now| agents.environments_called(now).await.map_err(failed).map(|all| all.contains(&environment));
    holds(!called(now).await?, "nobody is called without a command")?;
    agents.command_send(&asked).await.map_err(failed)?;
    holds(called(now).await?, "a pending command calls its environment")?;
    holds(!called(Timestamp::constant(4_000_000_002, 0)).await?, "until its time is over")?;
    let epoch = owned(agents, &claim(4, 5)).await?;
    agents.command_take(&asked.id, 5, epoch).await.map_err(failed)?;
    holds(!called(now).await?, "and not once it was handed over")
}

async fn batches<A: Agents>(agents: &A) -> Result<(), String> {
    let (session, other) = (LogSessionId::from_random([7; 16]), LogSessionId::from_random([8; 16]));
    let batch = |session: &LogSessionId, sequence: u64| SealedBatch {
        session_id: session.clone(),
        database_id: DatabaseId::from_random([2; 16]),
        sequence,
        sealed: format!("sealed {sequence}"),
    };
    let listed = async |after| {
        let found = agents.log_batch_list(&session, after).await.map_err(failed)?;
        Ok::<Vec<u64>, String>(found.into_iter().map(|batch: SealedBatch| batch.sequence).collect())
    };
    holds(listed(0).await?.is_empty(), "a session begins without batches")?;
    let until = Timestamp::constant(4_000_000_000, 0);
    // Queues deliver in any order, and twice.
    for sequence in [1_700_000_000_003, 9, 1_700_000_000_003] {
        agents.log_batch_put(&batch(&session, sequence), until).await.map_err(failed)?;
    }
    agents.log_batch_put(&batch(&other, 10), until).await.map_err(failed)?;
    holds(listed(0).await? == [9, 1_700_000_000_003], "batches come by sequence, and no other session's")?;
    holds(listed(9).await? == [1_700_000_000_003], "after the one that is known")?;
    holds(listed(1_700_000_000_003).await?.is_empty(), "and none after the last")?;
    let known = agents.log_batch_list(&session, 0).await.map_err(failed)?;
    holds(known.first() == Some(&batch(&session, 9)), "as they were put")?;
    for sequence in 20..20 + BATCHES_MAX as u64 {
        agents.log_batch_put(&batch(&session, sequence), until).await.map_err(failed)?;
    }
    holds(listed(10).await?.len() == BATCHES_MAX, "at most so many at once, the first ones")
}

async fn withdrawal<A: Agents>(agents: &A) -> Result<(), String> {
    let (pending, delivered) = (command("withdrawn"), command("too-late"));
    holds(agents.command_withdraw(&pending.id).await.map_err(failed)?.is_none(), "what was never sent cannot be withdrawn")?;
    agents.command_send(&pending).await.map_err(failed)?;
    agents.command_send(&delivered).await.map_err(failed)?;
    let epoch = agents.session_epoch(&delivered.environment_id).await.map_err(failed)?;
    agents.command_take(&delivered.id, 7, epoch).await.map_err(failed)?;
    holds(agents.command_withdraw(&pending.id).await.map_err(failed)? == Some(CommandState::Withdrawn), "a pending command can be withdrawn")?;
    holds(agents.command_take(&pending.id, 7, epoch).await.map_err(failed)?.is_none(), "and is then not handed over")?;
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
        plugin_version: Some("0.14.0".into()),
        upgradable: true,
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
