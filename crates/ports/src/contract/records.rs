//! What every implementation of [`Records`] must do.
use super::values;
use crate::{NameClaim, PortError, Records, Write};
use jiff::{SignedDuration, Timestamp};
use kiven_model::enrolment::AgentToken;
use kiven_model::operation::{EventKind, OperationEvent, StepRecord, StepStatus};
use serde_json::json;

pub(super) fn holds(condition: bool, rule: &str) -> Result<(), String> {
    if condition { Ok(()) } else { Err(rule.to_owned()) }
}

pub(super) fn failed(error: PortError) -> String {
    format!("unexpected: {error}")
}

pub(super) fn conflicts(result: Result<(), PortError>, rule: &str) -> Result<(), String> {
    holds(matches!(result, Err(PortError::Conflict(_))), rule)
}

/// Runs the suite on an empty store.
///
/// # Errors
/// The first rule that does not hold.
pub async fn records<R: Records>(store: &R) -> Result<(), String> {
    fences(store).await?;
    names(store).await?;
    operations(store).await?;
    isolation(store).await?;
    agent_tokens(store).await?;
    stop(store).await?;
    super::logs::sessions(store).await?;
    super::schedules::schedules(store).await
}

async fn stop<R: Records>(store: &R) -> Result<(), String> {
    let said = async |reason: Option<&str>| {
        store.records_commit(vec![Write::UpgradesStopped { reason: reason.map(str::to_owned) }]).await.map_err(failed)?;
        store.upgrades_stopped().await.map_err(failed)
    };
    holds(store.upgrades_stopped().await.map_err(failed)?.is_none(), "nothing is stopped at first")?;
    holds(said(Some("a bad release")).await? == Some("a bad release".to_owned()), "a stop says why")?;
    holds(said(Some("another")).await? == Some("another".to_owned()), "and may be said again")?;
    holds(said(None).await?.is_none() && said(None).await?.is_none(), "it is taken back, and back again")
}

async fn agent_tokens<R: Records>(store: &R) -> Result<(), String> {
    let environment = values::environment(8).id;
    let token = |digit: &str| AgentToken {
        sha256: digit.repeat(64),
        environment_id: environment.clone(),
        created_by: "key".to_owned(),
        created_at: Timestamp::UNIX_EPOCH,
        expires_at: Timestamp::MAX,
    };
    let (first, next) = (token("a"), token("b"));
    let gone = |token: &AgentToken| Write::AgentTokenGone { environment: environment.clone(), sha256: token.sha256.clone() };
    let made = |token: &AgentToken| Write::AgentToken(Box::new(token.clone()));
    store.records_commit(vec![made(&first)]).await.map_err(failed)?;
    conflicts(store.records_commit(vec![made(&first)]).await, "a token is made once")?;
    holds(store.agent_token_get(&environment, &first.sha256).await.map_err(failed)?.as_ref() == Some(&first), "a token comes back as it was")?;
    let stranger = values::environment(9).id;
    holds(store.agent_token_get(&stranger, &first.sha256).await.map_err(failed)?.is_none(), "it is no other environment's")?;
    store.records_commit(vec![gone(&first), made(&next)]).await.map_err(failed)?;
    conflicts(store.records_commit(vec![gone(&first), made(&token("c"))]).await, "a token is spent once")?;
    holds(store.agent_token_get(&environment, &token("c").sha256).await.map_err(failed)?.is_none(), "and what it was to be spent for is not made")?;
    store.records_commit(vec![gone(&next)]).await.map_err(failed)?;
    holds(store.agent_token_get(&environment, &next.sha256).await.map_err(failed)?.is_none(), "a token that is gone is gone")
}

async fn fences<R: Records>(store: &R) -> Result<(), String> {
    let environment = values::environment(1);
    let put = |version, expected| Write::Environment {
        record: Box::new(kiven_model::environment::Environment { version, ..environment.clone() }),
        expected,
    };
    store.records_commit(vec![put(1, None)]).await.map_err(failed)?;
    conflicts(store.records_commit(vec![put(1, None)]).await, "a record is created once")?;
    store.records_commit(vec![put(2, Some(1))]).await.map_err(failed)?;
    conflicts(store.records_commit(vec![put(2, Some(1))]).await, "a stale version is refused")?;
    let other = values::environment(2);
    let both = vec![Write::Environment { record: Box::new(other.clone()), expected: None }, put(3, Some(1))];
    conflicts(store.records_commit(both).await, "one broken fence refuses the whole transaction")?;
    let beside = |version| {
        let kept = Write::EnvironmentKept { id: environment.id.clone(), version };
        vec![Write::Environment { record: Box::new(values::environment(3)), expected: None }, kept]
    };
    conflicts(store.records_commit(beside(1)).await, "what must have stayed has changed")?;
    store.records_commit(beside(2)).await.map_err(failed)?;
    holds(store.environment_get(&other.id).await.map_err(failed)?.is_none(), "and nothing of it is written")?;
    holds(store.environment_get(&environment.id).await.map_err(failed)?.map(|e| e.version) == Some(2), "reads see the last write")
}

async fn names<R: Records>(store: &R) -> Result<(), String> {
    let claim = NameClaim::Database(values::environment(1).id, "shop".to_owned());
    let take = |owner: &str| vec![Write::NameTaken { claim: claim.clone(), owner: owner.to_owned() }];
    store.records_commit(take("a")).await.map_err(failed)?;
    store.records_commit(take("a")).await.map_err(failed)?;
    conflicts(store.records_commit(take("b")).await, "a name has one owner")?;
    holds(store.name_owner(&claim).await.map_err(failed)?.as_deref() == Some("a"), "a name knows its owner")?;
    holds(store.database_names(&values::environment(1).id).await.map_err(failed)? == ["shop"], "an environment knows its names")?;
    holds(store.database_names(&values::environment(2).id).await.map_err(failed)?.is_empty(), "and no other's")?;
    let free = |owner: &str| vec![Write::NameFreed { claim: claim.clone(), owner: owner.to_owned() }];
    store.records_commit(free("b")).await.map_err(failed)?;
    holds(store.name_owner(&claim).await.map_err(failed)?.is_some(), "another cannot free it")?;
    store.records_commit(free("a")).await.map_err(failed)?;
    store.records_commit(take("b")).await.map_err(failed)
}

async fn operations<R: Records>(store: &R) -> Result<(), String> {
    let at = |seconds| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
    let mut first = values::operation(1, 10);
    first.due_at = Some(at(20));
    let mut second = values::operation(1, 11);
    second.due_at = Some(at(10));
    for operation in [&first, &second] {
        store.records_commit(vec![Write::Operation { record: Box::new(operation.clone()), expected: None }]).await.map_err(failed)?;
    }
    holds(store.operations_due(at(5), 10).await.map_err(failed)?.is_empty(), "nothing is due before its time")?;
    holds(store.operations_due(at(30), 10).await.map_err(failed)? == [second.id.clone(), first.id.clone()], "the oldest due comes first")?;
    let step = |status| StepRecord {
        ordinal: 0,
        name: "s".into(),
        key: "s".into(),
        input: json!({"a": 1}),
        output: None,
        status,
        attempts: 0,
        not_before: None,
        waiting_on: None,
        started_at: at(1),
        ended_at: None,
    };
    let event = |sequence| OperationEvent { sequence, at: at(1), step: None, kind: EventKind::StepStarted, message: "m".into() };
    let ended = kiven_model::operation::Operation { version: 2, due_at: None, events: 2, ..first.clone() };
    let writes = vec![
        Write::Operation { record: Box::new(ended.clone()), expected: Some(1) },
        Write::Step(first.id.clone(), Box::new(step(StepStatus::Attempted))),
        Write::Event(first.id.clone(), Box::new(event(1))),
        Write::Event(first.id.clone(), Box::new(event(2))),
    ];
    store.records_commit(writes).await.map_err(failed)?;
    store.records_commit(vec![Write::Step(first.id.clone(), Box::new(step(StepStatus::Done)))]).await.map_err(failed)?;
    let steps = store.operation_steps(&first.id).await.map_err(failed)?;
    holds(steps.len() == 1 && steps[0].status == StepStatus::Done, "a step has one record")?;
    let events = store.operation_events(&first.id, 1).await.map_err(failed)?;
    holds(events.iter().map(|e| e.sequence).eq([2]), "events come after a number, in order")?;
    holds(store.operations_due(at(30), 10).await.map_err(failed)? == [second.id], "without a due time it is not due")?;
    let listed = store.operation_list(&first.organization_id).await.map_err(failed)?;
    holds(listed.len() == 2, "an organization lists its operations")?;
    let head = store.operation_head(&first.id).await.map_err(failed)?;
    holds(head == Some(kiven_model::operation::Operation { input: serde_json::Value::Null, ..ended.clone() }), "a head is all but the input")?;
    let read = store.operation_get(&first.id).await.map_err(failed)?;
    holds(read.is_some_and(|read| read.input == first.input && read.events == 2), "an operation keeps its input for life")
}

async fn isolation<R: Records>(store: &R) -> Result<(), String> {
    let (mine, theirs) = (values::environment(1), values::environment(9));
    let (Some(database), Some(foreign)) = (values::database(1), values::database(9)) else { return Err("sample databases are valid".to_owned()) };
    let writes = vec![
        Write::Environment { record: Box::new(theirs), expected: None },
        Write::Database { record: Box::new(database.clone()), expected: None },
        Write::Database { record: Box::new(foreign), expected: None },
    ];
    store.records_commit(writes).await.map_err(failed)?;
    let listed = store.environment_list(&mine.organization_id).await.map_err(failed)?;
    holds(listed.iter().all(|e| e.organization_id == mine.organization_id) && listed.len() == 1, "a list holds one organization's own")?;
    let listed = store.database_list(&mine.organization_id).await.map_err(failed)?;
    holds(listed == [database.clone()], "a database comes back as it was written")?;
    holds(store.database_get(&database.id).await.map_err(failed)? == Some(database), "and by its id")
}
