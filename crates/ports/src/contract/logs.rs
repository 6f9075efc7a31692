//! What every implementation of [`Records`] must do for readers' sessions.
use super::records::{conflicts, failed, holds};
use super::values;
use crate::{Records, Write};
use jiff::Timestamp;
use kiven_model::logs::LogSession;

const SEED: u8 = 9;

fn put(record: &LogSession, expected: Option<u64>) -> Vec<Write> {
    vec![Write::LogSession { record: Box::new(record.clone()), expected }]
}

/// The part of the suite about readers' sessions.
pub(super) async fn sessions<R: Records>(store: &R) -> Result<(), String> {
    let at = |second| Timestamp::constant(4_000_000_000_i64 + second, 0);
    let (Some(first), Some(second)) = (values::log_session(SEED, 30, at(0)), values::log_session(SEED, 31, at(1))) else {
        return Err("sample sessions are valid".to_owned());
    };
    for session in [&second, &first] {
        store.records_commit(put(session, None)).await.map_err(failed)?;
    }
    conflicts(store.records_commit(put(&first, None)).await, "a session is opened once")?;
    holds(store.log_session_get(&first.id).await.map_err(failed)?.as_ref() == Some(&first), "it comes back as it was written")?;
    let listed = store.log_session_list(&first.organization_id).await.map_err(failed)?;
    holds(listed == [first.clone(), second.clone()], "an organization's are listed, the oldest first")?;
    let closed = LogSession { closed: true, version: 2, ..first.clone() };
    store.records_commit(put(&closed, Some(1))).await.map_err(failed)?;
    conflicts(store.records_commit(put(&closed, Some(1))).await, "a stale version is refused")?;
    holds(store.log_session_get(&first.id).await.map_err(failed)? == Some(closed), "a closed one is still there")?;
    holds(store.log_session_list(&first.organization_id).await.map_err(failed)? == [second], "and no longer listed")
}
