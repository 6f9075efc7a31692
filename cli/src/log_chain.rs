//! Batches in the order in which the agent sealed them: each names the one before it, inside of the seal. Pure.
use kiven_seal::{Batch, Line};
use std::collections::BTreeMap;

/// How often is asked again for a batch that is missing before it is given up.
const PATIENCE: u32 = 8;

/// What there is to show.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A line.
    Line(Line),
    /// So many lines were not passed on.
    Dropped(u64),
    /// A batch was lost or kept back.
    Missing,
    /// Why there is nothing after this.
    Ended(String),
}

/// What came, and was not shown yet.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    /// The sequence of the last batch that was shown.
    last: u64,
    waiting: BTreeMap<u64, Batch>,
    asked_in_vain: u32,
}

impl Chain {
    /// After which batch to ask.
    pub(crate) fn after(&self) -> u64 {
        self.last
    }

    /// Takes a batch in; one that was shown is not shown again.
    pub(crate) fn add(&mut self, sequence: u64, batch: Batch) {
        if sequence > self.last {
            self.waiting.insert(sequence, batch);
        }
    }

    /// Everything whose turn it is. What is missing is waited for a while, unless nothing more will come.
    pub(crate) fn next(&mut self, last_word: bool) -> Vec<Said> {
        let mut said = Vec::new();
        while let Some((sequence, batch)) = self.waiting.first_key_value() {
            // An agent that was started anew begins a new chain.
            let follows = batch.header.previous == self.last || batch.header.previous == 0;
            if !follows {
                self.asked_in_vain += 1;
                if self.asked_in_vain < PATIENCE && !last_word {
                    break;
                }
                said.push(Said::Missing);
            }
            self.asked_in_vain = 0;
            self.last = *sequence;
            let Some((_, Batch { header, lines })) = self.waiting.pop_first() else { break };
            said.extend(lines.into_iter().map(Said::Line));
            said.extend((header.dropped > 0).then_some(Said::Dropped(header.dropped)));
            said.extend(header.ended.map(Said::Ended));
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiven_model::logs::BatchHeader;

    fn batch(previous: u64, text: &str) -> Batch {
        let header = BatchHeader { previous, dropped: 0, ended: None };
        Batch { header, lines: vec![Line { pod: "p".to_owned(), text: text.to_owned() }] }
    }

    fn check(chain: &mut Chain, expected: &[&str]) {
        let words = chain.next(false).into_iter().map(|said| match said {
            Said::Line(line) => line.text,
            Said::Missing => "missing".to_owned(),
            Said::Dropped(count) => format!("dropped {count}"),
            Said::Ended(why) => why,
        });
        assert_eq!(words.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn batches_that_overtook_each_other_are_shown_in_order_and_once() {
        let mut chain = Chain::default();
        chain.add(10, batch(0, "a"));
        check(&mut chain, &["a"]);
        chain.add(30, batch(20, "c"));
        check(&mut chain, &[]);
        assert_eq!(chain.after(), 10, "the missing one is asked for");
        chain.add(20, batch(10, "b"));
        chain.add(30, batch(20, "c"));
        check(&mut chain, &["b", "c"]);
        chain.add(20, batch(10, "b"));
        check(&mut chain, &[]);
    }

    #[test]
    fn one_that_is_kept_back_is_said_to_be_missing() {
        let mut chain = Chain::default();
        chain.add(10, batch(0, "a"));
        chain.add(30, batch(20, "c"));
        check(&mut chain, &["a"]);
        for _ in 2..PATIENCE {
            check(&mut chain, &[]);
        }
        check(&mut chain, &["missing", "c"]);
    }

    #[test]
    fn an_agent_that_was_started_anew_and_its_drops_are_shown() {
        let mut chain = Chain::default();
        chain.add(10, batch(0, "a"));
        let header = BatchHeader { previous: 0, dropped: 3, ended: Some("over".to_owned()) };
        chain.add(99, Batch { header, lines: Vec::new() });
        check(&mut chain, &["a", "dropped 3", "over"]);
    }
}
