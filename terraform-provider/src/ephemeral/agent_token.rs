//! `kiven_agent_token`: the single-use token with which an agent enrols. What nobody has spent at the end of a run is revoked.
use crate::diagnose::{chain, failure};
use crate::resources::environment::id_of;
use crate::session::Shared;
use kiven_model::EnvironmentId;
use kiven_tfplugin::{Attr, Call, Deferred, Diagnostic, Diagnostics, Ephemeral, Opened, Schema, Value, async_trait};
use serde::{Deserialize, Serialize};

/// The ephemeral resource.
pub(crate) struct AgentToken(pub(crate) Shared);

/// What is kept until it is closed: which token, never the token.
#[derive(Serialize, Deserialize)]
struct Made {
    environment_id: EnvironmentId,
    token_id: String,
}

#[async_trait]
impl Ephemeral for AgentToken {
    fn schema(&self) -> Schema {
        Schema::new(0)
            .describe(
                "The single-use token with which the agent of an environment enrols whose `agent_enrolment` is `token`. It is in no plan and no \
                 state. Each run makes one and revokes it at its end unless an agent has spent it; after a run that fails it is good until its \
                 hour is over. Give it to a write-only argument of what installs the agent, and let that wait until the agent is up.",
            )
            .attr(Attr::string("environment_id").required().describe("The `id` of the `kiven_environment`."))
            .attr(Attr::string("token").computed().sensitive().describe("The token, good for one enrolment."))
            .attr(Attr::string("expires_at").computed().describe("From when it is worthless, an hour after it was made."))
    }

    async fn validate(&self, config: &Value) -> Diagnostics {
        let text = config.get("environment_id").as_str();
        text.and_then(|text| id_of(&self.schema(), "environment_id", text).err()).map(Diagnostics::from).unwrap_or_default()
    }

    async fn open(&self, mut config: Value, _: &Call) -> Opened {
        let Some(text) = config.get("environment_id").as_str() else {
            return Opened { deferred: Some(Deferred::ResourceConfigUnknown), ..Opened::of(config) };
        };
        let (client, id) = match (self.0.client(), id_of(&self.schema(), "environment_id", text)) {
            (Ok(client), Ok(id)) => (client, id),
            (Err(refused), _) | (_, Err(refused)) => return Opened::refused(refused),
        };
        let made = match client.agent_token_create(&id).await {
            Ok(made) => made,
            Err(error) => return Opened::refused(failure(&self.schema(), "Making the token", &error)),
        };
        config.set("token", made.token);
        config.set("expires_at", made.expires_at.to_string());
        let private = serde_json::to_vec(&Made { environment_id: id, token_id: made.id }).unwrap_or_default();
        Opened { private, ..Opened::of(config) }
    }

    async fn close(&self, call: &Call) -> Diagnostics {
        let (Ok(made), Ok(client)) = (serde_json::from_slice::<Made>(&call.private), self.0.client()) else { return Diagnostics::none() };
        match client.agent_token_revoke(&made.environment_id, &made.token_id).await {
            Ok(()) => Diagnostics::none(),
            Err(error) if error.not_found() => Diagnostics::none(),
            Err(error) => {
                let detail = format!("{}. Unless an agent spends it, it ends by itself within the hour.", chain(&error));
                Diagnostic::warning("The agent's token could not be revoked", detail).into()
            }
        }
    }
}
