//! What is to be said: numbered per session, kept until acknowledged, bounded; observations give way to answers.
use kiven_model::report::ReportBody;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// Most reports that wait or are unacknowledged.
const REPORTS_MAX: usize = 512;

/// The agent's reports on their way out.
#[derive(Default)]
pub(crate) struct Outbox {
    inner: Mutex<Inner>,
    /// Rung when there is something to send.
    pub(crate) ready: Notify,
    /// Rung when reports have become safe.
    acknowledged: Notify,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<ReportBody>,
    sent: VecDeque<(u64, ReportBody)>,
    next: u64,
    dropped: u64,
}

impl Outbox {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a report. An observation replaces a waiting one of the same cluster; when all is full, the oldest observation goes.
    pub(crate) fn push(&self, body: ReportBody) {
        let mut inner = self.inner();
        if let ReportBody::Observed(new) = &body {
            inner.waiting.retain(|old| !matches!(old, ReportBody::Observed(old) if old.cluster == new.cluster));
        }
        if inner.waiting.len() + inner.sent.len() >= REPORTS_MAX {
            let counts = inner.waiting.iter().position(|old| matches!(old, ReportBody::Logged(_)));
            let victim = counts.or_else(|| inner.waiting.iter().position(|old| matches!(old, ReportBody::Observed(_) | ReportBody::Facts(_))));
            match victim {
                Some(index) => drop(inner.waiting.remove(index)),
                None => drop(inner.waiting.pop_front()),
            }
            inner.dropped += 1;
        }
        inner.waiting.push_back(body);
        drop(inner);
        self.ready.notify_one();
    }

    /// A new session begins: everything unacknowledged is to be said again, numbered from 1.
    pub(crate) fn begin(&self) {
        let mut inner = self.inner();
        while let Some((_, body)) = inner.sent.pop_back() {
            inner.waiting.push_front(body);
        }
        inner.next = 0;
    }

    /// The next report with its number.
    pub(crate) fn take(&self) -> Option<(u64, ReportBody)> {
        let mut inner = self.inner();
        if inner.dropped > 0 {
            let count = std::mem::take(&mut inner.dropped);
            inner.waiting.push_front(ReportBody::Dropped { count });
        }
        let body = inner.waiting.pop_front()?;
        inner.next += 1;
        let number = inner.next;
        inner.sent.push_back((number, body.clone()));
        Some((number, body))
    }

    /// Everything up to this number is safe.
    pub(crate) fn acknowledge(&self, sequence: u64) {
        self.inner().sent.retain(|(number, _)| *number > sequence);
        self.acknowledged.notify_one();
    }

    /// Whether there is something to send.
    pub(crate) fn has_waiting(&self) -> bool {
        let inner = self.inner();
        inner.dropped > 0 || !inner.waiting.is_empty()
    }

    /// Returns when no answer waits or is unacknowledged.
    pub(crate) async fn answers_settled(&self) {
        let is_answer = |body: &ReportBody| matches!(body, ReportBody::Answered { .. });
        loop {
            let open = {
                let inner = self.inner();
                inner.waiting.iter().any(is_answer) || inner.sent.iter().any(|(_, body)| is_answer(body))
            };
            if !open {
                return;
            }
            self.acknowledged.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiven_model::command::{CommandOutcome, CommandOutput};

    fn answer(id: &str) -> ReportBody {
        ReportBody::Answered { command_id: id.to_owned(), outcome: CommandOutcome::Done(CommandOutput::Nothing) }
    }

    #[test]
    fn what_is_not_acknowledged_is_said_again_in_order() {
        let outbox = Outbox::default();
        ["a", "b", "c"].into_iter().for_each(|id| outbox.push(answer(id)));
        assert_eq!(outbox.take(), Some((1, answer("a"))));
        assert_eq!(outbox.take(), Some((2, answer("b"))));
        outbox.acknowledge(1);
        outbox.begin();
        assert_eq!(outbox.take(), Some((1, answer("b"))));
        assert_eq!(outbox.take(), Some((2, answer("c"))));
        assert_eq!(outbox.take(), None);
    }

    #[test]
    fn a_full_outbox_counts_what_it_drops() {
        let outbox = Outbox::default();
        (0..REPORTS_MAX + 3).for_each(|i| outbox.push(answer(&i.to_string())));
        assert_eq!(outbox.take(), Some((1, ReportBody::Dropped { count: 3 })));
        assert_eq!(outbox.take(), Some((2, answer("3"))));
    }
}
