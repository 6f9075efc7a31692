//! What is to be said: numbered per session, kept until acknowledged, bounded; figures give way to what is said again anyway, that to
//! events, and events to answers.
use kiven_model::report::ReportBody;
use kiven_model::statistics::{InstanceStatistics, SESSIONS_MAX, STATEMENTS_MAX};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// Most reports that wait or are unacknowledged.
const REPORTS_MAX: usize = 512;
/// Most figures that are on their way unacknowledged: whatever else is to be said waits behind so many at most.
const COUNTED_IN_FLIGHT_MAX: usize = 2;
/// Most texts of statements that one report carries on for an older one.
const TEXTS_MAX: usize = STATEMENTS_MAX + SESSIONS_MAX;

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
    dropped_events: u64,
}

/// What is dropped first when all is full: the lowest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    /// A figure of the past minute: those of the next one follow.
    Counted,
    /// It is said again, newer, within half a minute.
    Repeated,
    /// It is said once. Nothing is lost for good: what it tells of stays to be seen in the cluster.
    Event,
    /// An operation waits for it.
    Answer,
}

fn worth(body: &ReportBody) -> Worth {
    match body {
        ReportBody::Logged(_) | ReportBody::Sealed(_) | ReportBody::Statistics(_) => Worth::Counted,
        ReportBody::Observed(_) | ReportBody::Facts(_) => Worth::Repeated,
        ReportBody::Event(_) => Worth::Event,
        ReportBody::Answered { .. } | ReportBody::Dropped { .. } => Worth::Answer,
    }
}

impl Inner {
    /// Whose turn it is: figures go when nothing else waits, a few at a time.
    fn next_index(&self) -> Option<usize> {
        let counted = |body: &ReportBody| worth(body) == Worth::Counted;
        let other = self.waiting.iter().position(|body| !counted(body));
        let free = || self.sent.iter().filter(|(_, body)| counted(body)).count() < COUNTED_IN_FLIGHT_MAX;
        other.or_else(|| (!self.waiting.is_empty() && free()).then_some(0))
    }

    /// Takes out what an instance said before and has not left yet. Texts of statements, which are said only now and then, go on.
    fn supersede(&mut self, new: &mut InstanceStatistics) {
        let same = |old: &InstanceStatistics| old.cluster == new.cluster && old.instance == new.instance;
        let at = self.waiting.iter().position(|old| matches!(old, ReportBody::Statistics(old) if same(old)));
        if let Some(ReportBody::Statistics(old)) = at.and_then(|at| self.waiting.remove(at)) {
            self.dropped += 1;
            let unsaid = old.texts.into_iter().filter(|text| new.texts.iter().all(|known| known.query_id != text.query_id));
            let unsaid: Vec<_> = unsaid.take(TEXTS_MAX.saturating_sub(new.texts.len())).collect();
            new.texts.extend(unsaid);
        }
    }
}

impl Outbox {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a report. An observation replaces a waiting one of the same cluster, statistics those of the same instance, which counts
    /// as dropped; when all is full, the oldest of what is worth least goes, which may be the new one, and is counted.
    pub(crate) fn push(&self, mut body: ReportBody) {
        let mut inner = self.inner();
        match &mut body {
            ReportBody::Observed(new) => inner.waiting.retain(|old| !matches!(old, ReportBody::Observed(old) if old.cluster == new.cluster)),
            ReportBody::Statistics(new) => inner.supersede(new),
            ReportBody::Facts(_)
            | ReportBody::Answered { .. }
            | ReportBody::Event(_)
            | ReportBody::Logged(_)
            | ReportBody::Sealed(_)
            | ReportBody::Dropped { .. } => {}
        }
        if inner.waiting.len() + inner.sent.len() < REPORTS_MAX {
            inner.waiting.push_back(body);
        } else {
            let least = inner.waiting.iter().enumerate().min_by_key(|(index, old)| (worth(old), *index)).map(|(index, old)| (index, worth(old)));
            let gone = match least {
                Some((index, least)) if least <= worth(&body) => {
                    let gone = inner.waiting.remove(index);
                    inner.waiting.push_back(body);
                    gone
                }
                _ => Some(body),
            };
            inner.dropped += 1;
            inner.dropped_events += u64::from(gone.is_some_and(|gone| worth(&gone) == Worth::Event));
        }
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
            let (count, events) = (std::mem::take(&mut inner.dropped), std::mem::take(&mut inner.dropped_events));
            inner.waiting.push_front(ReportBody::Dropped { count, events });
        }
        let body = inner.next_index().and_then(|index| inner.waiting.remove(index))?;
        inner.next += 1;
        let number = inner.next;
        inner.sent.push_back((number, body.clone()));
        Some((number, body))
    }

    /// Everything up to this number is safe.
    pub(crate) fn acknowledge(&self, sequence: u64) {
        self.inner().sent.retain(|(number, _)| *number > sequence);
        self.acknowledged.notify_one();
        // Figures may have waited for it.
        self.ready.notify_one();
    }

    /// Whether there is something to send now.
    pub(crate) fn has_waiting(&self) -> bool {
        let inner = self.inner();
        inner.dropped > 0 || inner.next_index().is_some()
    }

    /// Batches of logs that wait or are unacknowledged: while the relay is away no more of them are made.
    pub(crate) fn sealed(&self) -> usize {
        let inner = self.inner();
        let is_batch = |body: &ReportBody| matches!(body, ReportBody::Sealed(_));
        inner.waiting.iter().filter(|body| is_batch(body)).count() + inner.sent.iter().filter(|(_, body)| is_batch(body)).count()
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
        assert_eq!(outbox.take(), Some((1, ReportBody::Dropped { count: 3, events: 0 })));
        assert_eq!(outbox.take(), Some((2, answer("3"))));
    }

    fn event(number: usize) -> ReportBody {
        let (database_id, what) = (kiven_model::DatabaseId::from_random([1; 16]), kiven_model::event::Happening::ArchiveFailing);
        ReportBody::Event(kiven_model::event::DatabaseEvent {
            database_id,
            at: jiff::Timestamp::from_second(i64::try_from(number).unwrap()).unwrap(),
            what,
        })
    }

    fn facts() -> ReportBody {
        let facts = serde_json::json!({ "agent_version": "", "kubernetes_version": "", "operator_version": null, "storage_class": true, "postgres_versions": [] });
        ReportBody::Facts(serde_json::from_value(facts).unwrap())
    }

    fn statistics(instance: &str, query_id: Option<i64>) -> ReportBody {
        let database_id = kiven_model::DatabaseId::from_random([1; 16]);
        let mut all = InstanceStatistics::empty(database_id, "c".into(), instance.to_owned(), "shop".into(), jiff::Timestamp::UNIX_EPOCH);
        all.texts.extend(query_id.map(|query_id| kiven_model::statistics::StatementText { query_id, keyword: None, text: None }));
        ReportBody::Statistics(Box::new(all))
    }

    #[test]
    fn figures_go_last_a_few_at_a_time_and_older_ones_give_way() {
        let outbox = Outbox::default();
        ["a", "b", "c"].into_iter().for_each(|instance| outbox.push(statistics(instance, Some(1))));
        outbox.push(statistics("a", Some(2)));
        outbox.push(event(1));
        assert_eq!(outbox.take(), Some((1, ReportBody::Dropped { count: 1, events: 0 })));
        assert_eq!(outbox.take(), Some((2, event(1))));
        assert_eq!(outbox.take(), Some((3, statistics("b", Some(1)))));
        assert_eq!(outbox.take(), Some((4, statistics("c", Some(1)))));
        assert!(outbox.take().is_none() && !outbox.has_waiting(), "two are on their way");
        outbox.push(answer("x"));
        assert_eq!(outbox.take(), Some((5, answer("x"))));
        outbox.acknowledge(3);
        let Some((6, ReportBody::Statistics(last))) = outbox.take() else { panic!("statistics") };
        assert_eq!(last.texts.iter().map(|text| text.query_id).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn what_is_said_again_goes_before_events_and_events_before_answers() {
        let outbox = Outbox::default();
        (0..REPORTS_MAX / 2).for_each(|_| outbox.push(facts()));
        (0..REPORTS_MAX / 2).for_each(|number| outbox.push(event(number)));
        // Events push out what is said again, then answers push out the oldest events.
        (0..REPORTS_MAX / 2).for_each(|number| outbox.push(event(1000 + number)));
        (0..10).for_each(|number| outbox.push(answer(&number.to_string())));
        // What is said again finds no place any more.
        outbox.push(facts());
        let said: Vec<ReportBody> = std::iter::from_fn(|| outbox.take()).map(|(_, body)| body).collect();
        assert_eq!(said[0], ReportBody::Dropped { count: (REPORTS_MAX / 2 + 11) as u64, events: 10 });
        assert_eq!(said[1], event(10));
        assert_eq!(said.len(), REPORTS_MAX + 1);
        assert!(said[1..].iter().all(|body| *body != facts()) && said.ends_with(&[answer("9")]));
    }
}
