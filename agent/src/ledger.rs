//! What the agent remembers of commands: their ends and the greatest fence of each database, in one bounded ConfigMap.
use kiven_model::command::{Command, CommandOutcome};
use kiven_model::names::SYSTEM_NAMESPACE;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};

/// The ConfigMap's name.
const NAME: &str = "kiven-agent-commands";
/// Its one key.
const KEY: &str = "ledger.json";
/// Most ends remembered, and most retries: a command is not delivered again once its end is recorded outside.
const ENDS_MAX: usize = 200;

/// What is remembered.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ledger {
    ends: VecDeque<(String, CommandOutcome)>,
    fences: BTreeMap<String, u64>,
    /// The newest epoch of a relay at the last save.
    #[serde(default)]
    epoch: u64,
    /// Ends that may be otherwise next time. This process does not try twice under one id, so that nothing happens once an
    /// answer is out; the next process may.
    #[serde(skip)]
    retries: VecDeque<(String, CommandOutcome)>,
    /// Whether what is remembered here is not in the ConfigMap yet.
    #[serde(skip)]
    unsaved: bool,
}

impl Ledger {
    fn api(client: &Client) -> Api<k8s_openapi::api::core::v1::ConfigMap> {
        Api::namespaced(client.clone(), SYSTEM_NAMESPACE)
    }

    /// Reads it; an empty one when there is none.
    pub(crate) async fn load(client: &Client) -> kube::Result<Self> {
        let found = Self::api(client).get_opt(NAME).await?;
        let text = found.and_then(|map| map.data).and_then(|mut data| data.remove(KEY));
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
    }

    /// How a command ended, if it has.
    pub(crate) fn end_of(&self, id: &str) -> Option<CommandOutcome> {
        self.ends.iter().chain(&self.retries).find(|(known, _)| known == id).map(|(_, outcome)| outcome.clone())
    }

    /// The greatest fence seen for a database.
    pub(crate) fn fence_of(&self, command: &Command) -> u64 {
        command.database_id.as_ref().and_then(|id| self.fences.get(id.as_str())).copied().unwrap_or(0)
    }

    /// The newest epoch of a relay that an earlier process acted for.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Remembers fence and epoch before the effect, so that an older command or relay never follows a newer one.
    pub(crate) async fn begin(&mut self, client: &Client, command: &Command, epoch: u64) -> kube::Result<()> {
        self.fence(command);
        if self.epoch < epoch {
            self.epoch = epoch;
            self.unsaved = true;
        }
        if self.unsaved { self.save(client).await } else { Ok(()) }
    }

    /// Remembers an end.
    pub(crate) async fn end(&mut self, client: &Client, id: &str, outcome: &CommandOutcome) -> kube::Result<()> {
        self.ending(id, outcome);
        if self.unsaved { self.save(client).await } else { Ok(()) }
    }

    fn fence(&mut self, command: &Command) {
        let Some(id) = &command.database_id else { return };
        let known = self.fences.get(id.as_str()).copied();
        if known.is_none_or(|known| known < command.fence) {
            self.fences.insert(id.to_string(), command.fence);
            self.unsaved = true;
        }
    }

    fn ending(&mut self, id: &str, outcome: &CommandOutcome) {
        let lasting = !matches!(outcome, CommandOutcome::Retry(_));
        let ends = if lasting { &mut self.ends } else { &mut self.retries };
        ends.push_back((id.to_owned(), outcome.clone()));
        while ends.len() > ENDS_MAX {
            ends.pop_front();
        }
        self.unsaved |= lasting;
    }

    /// What could not be saved stays to be saved: a fence that is not in the ConfigMap lets no effect through.
    async fn save(&mut self, client: &Client) -> kube::Result<()> {
        let text = serde_json::to_string(self).map_err(kube::Error::SerdeError)?;
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": NAME }, "data": { KEY: text } });
        Self::api(client).patch(NAME, &PatchParams::apply("kiven-agent").force(), &Patch::Apply(&map)).await?;
        self.unsaved = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::tests::command;
    use kiven_model::command::CommandOutput;
    use kiven_model::{Code, Problem};

    #[test]
    fn a_fence_is_saved_until_it_is_safe_and_never_falls() {
        let mut ledger = Ledger::default();
        let mut newer = command(1, "b");
        newer.fence = 7;
        ledger.fence(&newer);
        // The save failed: the same fence is still to be saved.
        ledger.fence(&newer);
        assert!(ledger.unsaved);
        ledger.unsaved = false;
        ledger.fence(&newer);
        ledger.fence(&command(1, "a"));
        ledger.fence(&command(0, "none"));
        assert!(!ledger.unsaved);
        assert_eq!((ledger.fence_of(&newer), ledger.fence_of(&command(2, "c")), ledger.fences.len()), (7, 0, 1));
    }

    #[test]
    fn ends_are_bounded_and_retries_stay_in_this_process() {
        let mut ledger = Ledger::default();
        let retry = CommandOutcome::Retry(Problem::new(Code::AGENT_FAILED, "not now"));
        ledger.ending("r", &retry);
        assert!(!ledger.unsaved);
        (0..=ENDS_MAX).for_each(|n| ledger.ending(&n.to_string(), &CommandOutcome::Done(CommandOutput::Nothing)));
        assert!(ledger.unsaved && ledger.end_of("0").is_none() && ledger.end_of("1").is_some());
        assert_eq!(ledger.end_of("r"), Some(retry));
        let next: Ledger = serde_json::from_str(&serde_json::to_string(&ledger).unwrap()).unwrap();
        assert!(next.end_of("r").is_none() && next.end_of("1").is_some() && !next.unsaved);
    }
}
