//! What the agent remembers of commands: their ends and the greatest fence of each database, in one bounded ConfigMap.
//!
//! It belongs to one environment, and it never begins anew by itself: without it an old command could follow a newer one. Who owns the
//! cluster resets it by deleting the ConfigMap and restarting the agent.
use jiff::{SignedDuration, Timestamp};
use kiven_model::EnvironmentId;
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
/// Most databases whose fences are remembered: far more than one cluster has.
pub(crate) const FENCES_MAX: usize = 2_000;
/// Most bytes of it: a ConfigMap holds a MiB, and one that does not fit could never be saved again.
const BYTES_MAX: usize = 700_000;
/// How long the fence of a database that was purged is kept: longer than any command about it holds.
const GONE_FOR: SignedDuration = SignedDuration::from_hours(1);

/// Why there is no ledger.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    /// The API server did not show it.
    #[error("the ConfigMap {NAME} in {SYSTEM_NAMESPACE} cannot be asked for")]
    Api(#[from] kube::Error),
    /// It is there, and says nothing.
    #[error(
        "what is remembered of commands, the ConfigMap {NAME} in {SYSTEM_NAMESPACE}, cannot be read: without it an old command could follow \
         a newer one. Delete it to begin anew; docs/runbooks/silent-agent.md says what that means"
    )]
    Unreadable(#[source] serde_json::Error),
}

/// What is remembered.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ledger {
    /// Whose it is; of nobody in those that were written before this was.
    #[serde(default)]
    environment: String,
    ends: VecDeque<(String, CommandOutcome)>,
    fences: BTreeMap<String, u64>,
    /// Databases that were purged, and when: their fences are dropped some time after that.
    #[serde(default)]
    gone: BTreeMap<String, Timestamp>,
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

fn api(client: &Client) -> Api<k8s_openapi::api::core::v1::ConfigMap> {
    Api::namespaced(client.clone(), SYSTEM_NAMESPACE)
}

impl Ledger {
    /// Reads it; an empty one when there is none, and never because it cannot be read.
    pub(crate) async fn load(client: &Client, environment: &EnvironmentId) -> Result<Self, LedgerError> {
        let maps = api(client);
        match crate::starting::patiently(|| maps.get_opt(NAME)).await? {
            Some(map) => Self::parse(map.data.unwrap_or_default().get(KEY).map_or("", String::as_str), environment),
            None => Ok(Self { environment: environment.to_string(), ..Self::default() }),
        }
    }

    /// Another environment's fences and epochs are nothing to this one, which counts its own from the beginning.
    fn parse(text: &str, environment: &EnvironmentId) -> Result<Self, LedgerError> {
        let found: Self = serde_json::from_str(text).map_err(LedgerError::Unreadable)?;
        let is_ours = found.environment.is_empty() || found.environment == environment.as_str();
        let kept = if is_ours { found } else { Self::default() };
        Ok(Self { environment: environment.to_string(), ..kept })
    }

    /// How a command ended, if it has.
    pub(crate) fn end_of(&self, id: &str) -> Option<CommandOutcome> {
        self.ends.iter().chain(&self.retries).find(|(known, _)| known == id).map(|(_, outcome)| outcome.clone())
    }

    /// The greatest fence seen for a database.
    pub(crate) fn fence_of(&self, command: &Command) -> u64 {
        command.database_id.as_ref().and_then(|id| self.fences.get(id.as_str())).copied().unwrap_or(0)
    }

    /// Whether a fence of the command's database is remembered. One of no database needs none.
    pub(crate) fn knows(&self, command: &Command) -> bool {
        command.database_id.as_ref().is_none_or(|id| self.fences.contains_key(id.as_str()))
    }

    /// Whether there is a place for another database.
    pub(crate) fn has_room(&self) -> bool {
        self.fences.len() < FENCES_MAX
    }

    /// Keeps the fences of these databases only.
    pub(crate) fn keep(&mut self, there: &std::collections::BTreeSet<String>) {
        self.fences.retain(|id, _| there.contains(id));
        self.gone.retain(|id, _| there.contains(id));
        self.unsaved = true;
    }

    /// The newest epoch of a relay that an earlier process acted for.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Remembers fence and epoch before the effect, so that an older command or relay never follows a newer one.
    pub(crate) async fn begin(&mut self, client: &Client, command: &Command, epoch: u64) -> kube::Result<()> {
        self.fence(command);
        self.forget_gone(crate::now());
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

    /// Nothing of a database is there any more.
    pub(crate) fn purged(&mut self, command: &Command, now: Timestamp) {
        if let Some(id) = command.database_id.as_ref().filter(|id| self.fences.contains_key(id.as_str())) {
            self.gone.insert(id.to_string(), now);
            self.unsaved = true;
        }
    }

    /// The environment was let go: nobody's commands follow.
    pub(crate) fn released(&mut self) {
        self.keep(&std::collections::BTreeSet::new());
    }

    fn forget_gone(&mut self, now: Timestamp) {
        let (fences, before) = (&mut self.fences, self.gone.len());
        self.gone.retain(|id, since| {
            let kept = now.duration_since(*since) < GONE_FOR;
            if !kept {
                fences.remove(id);
            }
            kept
        });
        self.unsaved |= self.gone.len() != before;
    }

    fn fence(&mut self, command: &Command) {
        let Some(id) = &command.database_id else { return };
        let known = self.fences.get(id.as_str()).copied();
        if known.is_none_or(|known| known < command.fence) {
            self.fences.insert(id.to_string(), command.fence);
            self.gone.remove(id.as_str());
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

    /// As it is saved: the oldest ends give way where it would not fit.
    fn text(&mut self) -> Result<String, serde_json::Error> {
        loop {
            let text = serde_json::to_string(self)?;
            if text.len() <= BYTES_MAX || self.ends.is_empty() {
                return Ok(text);
            }
            let less = self.ends.len().div_ceil(4);
            self.ends.drain(..less);
        }
    }

    /// What could not be saved stays to be saved: a fence that is not in the ConfigMap lets no effect through.
    async fn save(&mut self, client: &Client) -> kube::Result<()> {
        let text = self.text().map_err(kube::Error::SerdeError)?;
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": NAME }, "data": { KEY: text } });
        api(client).patch(NAME, &PatchParams::apply("kiven-agent").force(), &Patch::Apply(&map)).await?;
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

    fn ours() -> EnvironmentId {
        EnvironmentId::from_random([1; 16])
    }

    #[test]
    fn one_that_cannot_be_read_is_no_empty_one_and_another_environments_is() {
        for text in ["", "{", r#"{"ends":[]}"#] {
            let error = Ledger::parse(text, &ours()).unwrap_err().to_string();
            assert!(error.contains(NAME) && error.contains("Delete it"), "{error}");
        }
        let before = r#"{"ends":[],"fences":{"db_x":7},"epoch":3}"#;
        let mut kept = Ledger::parse(before, &ours()).unwrap();
        assert_eq!((kept.epoch(), kept.fences.len(), kept.environment.as_str()), (3, 1, ours().as_str()));
        let text = kept.text().unwrap();
        assert_eq!(Ledger::parse(&text, &ours()).unwrap().epoch(), 3);
        let other = Ledger::parse(&text, &EnvironmentId::from_random([2; 16])).unwrap();
        assert_eq!((other.epoch(), other.fences.len()), (0, 0));
    }

    #[test]
    fn a_purged_databases_fence_goes_when_no_command_about_it_can_come_any_more() {
        let (mut ledger, now, one) = (Ledger::default(), Timestamp::UNIX_EPOCH, command(1, "a"));
        ledger.fence(&one);
        ledger.fence(&command(2, "b"));
        ledger.purged(&one, now);
        ledger.purged(&command(3, "never here"), now);
        ledger.forget_gone(now + SignedDuration::from_mins(59));
        assert!(ledger.knows(&one) && ledger.gone.len() == 1);
        ledger.forget_gone(now + GONE_FOR);
        assert!(!ledger.knows(&one) && ledger.knows(&command(2, "c")) && ledger.gone.is_empty());
        ledger.released();
        assert!(ledger.fences.is_empty() && ledger.unsaved);
    }

    #[test]
    fn it_always_fits_into_a_config_map() {
        let mut ledger = Ledger::default();
        for number in 0..FENCES_MAX {
            ledger.fences.insert(format!("db_{number:0>20}"), u64::MAX);
        }
        assert!(!ledger.has_room());
        let long = CommandOutcome::Refused(Problem::new(Code::AGENT_REFUSED, "x".repeat(8_000)));
        (0..ENDS_MAX).for_each(|n| ledger.ending(&n.to_string(), &long));
        assert!(ledger.text().unwrap().len() <= BYTES_MAX);
        assert!(ledger.end_of("199").is_some() && ledger.end_of("0").is_none() && ledger.fences.len() == FENCES_MAX);
    }
}
