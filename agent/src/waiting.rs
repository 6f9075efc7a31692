//! Lines that wait to be sealed for one reader: at most a batch.
use kiven_model::logs::BATCH_BYTES_MAX;
use kiven_seal::Line;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// See the module.
#[derive(Default)]
pub(crate) struct Waiting {
    inner: Mutex<Inner>,
    /// Rung when the lines were taken.
    room: Notify,
}

#[derive(Default)]
struct Inner {
    lines: Vec<Line>,
    bytes: usize,
    dropped: u64,
}

impl Waiting {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line. When there is no room a patient one waits, another is dropped and counted.
    pub(crate) async fn push(&self, line: Line, patient: bool) {
        let mut line = Some(line);
        loop {
            let mut room = std::pin::pin!(self.room.notified());
            // Listening begins before the look, so that no taking falls between them.
            room.as_mut().enable();
            if self.fits(&mut line) {
                return;
            }
            if !patient {
                return self.drop_one();
            }
            room.await;
        }
    }

    /// Takes the line if there is room for it; one that is larger than a batch is a batch.
    fn fits(&self, line: &mut Option<Line>) -> bool {
        let mut inner = self.inner();
        let bytes = line.as_ref().map_or(0, Line::bytes);
        if inner.bytes > 0 && inner.bytes + bytes > BATCH_BYTES_MAX {
            return false;
        }
        inner.bytes += bytes;
        inner.lines.extend(line.take());
        true
    }

    /// Counts a line that nobody will read.
    pub(crate) fn drop_one(&self) {
        self.inner().dropped += 1;
    }

    /// Whether there is nothing to say.
    pub(crate) fn is_empty(&self) -> bool {
        let inner = self.inner();
        inner.lines.is_empty() && inner.dropped == 0
    }

    /// Everything that waits, and how many lines were dropped since the last time.
    pub(crate) fn take(&self) -> (Vec<Line>, u64) {
        let mut inner = self.inner();
        inner.bytes = 0;
        let taken = (std::mem::take(&mut inner.lines), std::mem::take(&mut inner.dropped));
        drop(inner);
        self.room.notify_waiters();
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn line(bytes: usize) -> Line {
        Line { pod: "p".to_owned(), text: "x".repeat(bytes) }
    }

    #[tokio::test]
    async fn what_is_too_much_is_counted_and_never_kept() {
        let waiting = Waiting::default();
        for _ in 0..100 {
            waiting.push(line(1_000), false).await;
        }
        let (lines, dropped) = waiting.take();
        assert_eq!((lines.len(), dropped), (16, 84));
        assert!(lines.iter().map(Line::bytes).sum::<usize>() <= BATCH_BYTES_MAX && waiting.is_empty());
        waiting.push(line(BATCH_BYTES_MAX), false).await;
        assert_eq!(waiting.take().0.len(), 1, "a line as long as a batch is one");
    }

    #[tokio::test]
    async fn what_was_written_before_waits_for_its_turn() {
        let waiting = Arc::new(Waiting::default());
        waiting.push(line(BATCH_BYTES_MAX), false).await;
        let pushing = {
            let waiting = Arc::clone(&waiting);
            tokio::spawn(async move { waiting.push(line(5), true).await })
        };
        tokio::task::yield_now().await;
        assert!(!pushing.is_finished());
        assert_eq!(waiting.take().0.len(), 1);
        pushing.await.unwrap();
        assert_eq!(waiting.take(), (vec![line(5)], 0));
    }
}
