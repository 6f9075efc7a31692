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
/// Most ends remembered: a command is not delivered again once its end is recorded outside.
const ENDS_MAX: usize = 200;

/// What is remembered.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ledger {
    ends: VecDeque<(String, CommandOutcome)>,
    fences: BTreeMap<String, u64>,
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
        self.ends.iter().find(|(known, _)| known == id).map(|(_, outcome)| outcome.clone())
    }

    /// The greatest fence seen for a database.
    pub(crate) fn fence_of(&self, command: &Command) -> u64 {
        command.database_id.as_ref().and_then(|id| self.fences.get(id.as_str())).copied().unwrap_or(0)
    }

    /// Remembers a fence before the effect, so that an older command never follows a newer one.
    pub(crate) async fn begin(&mut self, client: &Client, command: &Command) -> kube::Result<()> {
        let Some(id) = &command.database_id else { return Ok(()) };
        if self.fences.get(id.as_str()) == Some(&command.fence) {
            return Ok(());
        }
        self.fences.insert(id.to_string(), command.fence);
        self.save(client).await
    }

    /// Remembers an end; one that may still change is not remembered.
    pub(crate) async fn end(&mut self, client: &Client, id: &str, outcome: &CommandOutcome) -> kube::Result<()> {
        if matches!(outcome, CommandOutcome::Retry(_)) {
            return Ok(());
        }
        self.ends.push_back((id.to_owned(), outcome.clone()));
        while self.ends.len() > ENDS_MAX {
            self.ends.pop_front();
        }
        self.save(client).await
    }

    async fn save(&self, client: &Client) -> kube::Result<()> {
        let text = serde_json::to_string(self).map_err(kube::Error::SerdeError)?;
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": NAME }, "data": { KEY: text } });
        Self::api(client).patch(NAME, &PatchParams::apply("kiven-agent").force(), &Patch::Apply(&map)).await?;
        Ok(())
    }
}
