//! A client for tests: the protocol as Terraform speaks it, one call at a time, so that what no client sends by itself
//! can be sent on purpose.
mod connect;
mod others;
mod schemas;

use crate::{Client, Diagnostic, Diagnostics, Path, Step, Type, Value, from_msgpack, to_msgpack, wire};
use futures_util::StreamExt;
use schemas::Types;
use tokio_stream::Stream;
use tonic::transport::Channel;

pub use connect::HarnessError;

/// A provider that is called by hand.
pub struct Harness {
    channel: Channel,
    types: Types,
    client: Client,
    _process: Option<connect::Process>,
}

/// What a plan answered.
#[derive(Debug, Clone)]
pub struct PlanAnswer {
    /// The planned state.
    pub state: Value,
    /// Attributes that replace the object.
    pub requires_replace: Vec<Path>,
    /// Kept beside the plan.
    pub private: Vec<u8>,
    /// Whether it was put off.
    pub deferred: bool,
    /// What was said.
    pub diagnostics: Diagnostics,
}

/// What read, apply, import and move answered.
#[derive(Debug, Clone)]
pub struct StateAnswer {
    /// The state; null when there is nothing.
    pub state: Value,
    /// The identity; null without.
    pub identity: Value,
    /// Kept beside the state.
    pub private: Vec<u8>,
    /// Whether it was put off.
    pub deferred: bool,
    /// What was said.
    pub diagnostics: Diagnostics,
}

/// What an open or renewed ephemeral resource answered.
#[derive(Debug, Clone)]
pub struct EphemeralAnswer {
    /// What it is worth.
    pub result: Value,
    /// For renew and close.
    pub private: Vec<u8>,
    /// Seconds since 1970 at which it must be renewed.
    pub renew_at: Option<i64>,
    /// What was said.
    pub diagnostics: Diagnostics,
}

fn sent(value: &Value) -> Option<wire::DynamicValue> {
    to_msgpack(value).ok().map(|msgpack| wire::DynamicValue { msgpack, json: Vec::new() })
}

fn told(all: Vec<wire::Diagnostic>) -> Diagnostics {
    let one = |sent: wire::Diagnostic| {
        let made = if sent.severity == 1 { Diagnostic::error(sent.summary, sent.detail) } else { Diagnostic::warning(sent.summary, sent.detail) };
        match sent.attribute {
            Some(path) => made.at(path_of(path)),
            None => made,
        }
    };
    all.into_iter().map(one).collect()
}

fn path_of(sent: wire::AttributePath) -> Path {
    let step = |step: wire::PathStep| match step.selector? {
        wire::Selector::AttributeName(name) => Some(Step::Attribute(name)),
        wire::Selector::ElementKeyString(key) => Some(Step::Key(key)),
        wire::Selector::ElementKeyInt(index) => Some(Step::Index(index)),
    };
    sent.steps.into_iter().filter_map(step).collect()
}

fn read(of: &Type, value: Option<wire::DynamicValue>) -> Result<Value, HarnessError> {
    match value {
        Some(value) => from_msgpack(of, &value.msgpack).map_err(|error| HarnessError::Answer(error.to_string())),
        None => Ok(Value::Null),
    }
}

impl Harness {
    /// What the harness says of itself as a client; by default it can do everything.
    #[must_use]
    pub fn as_client(mut self, client: Client) -> Self {
        self.client = client;
        self
    }

    fn capabilities(&self) -> Option<wire::ClientCapabilities> {
        let Client { deferral_allowed, write_only_allowed } = self.client;
        Some(wire::ClientCapabilities { deferral_allowed, write_only_attributes_allowed: write_only_allowed })
    }

    async fn ready(&self) -> Result<tonic::client::Grpc<Channel>, HarnessError> {
        // It may send more than a provider takes: that is the provider's to refuse.
        let grpc = tonic::client::Grpc::new(self.channel.clone()).max_encoding_message_size(usize::MAX);
        let mut grpc = grpc.max_decoding_message_size(crate::service::MESSAGE_BYTES_MAX);
        grpc.ready().await.map_err(HarnessError::Transport)?;
        Ok(grpc)
    }

    async fn ask<Q, A>(&self, rpc: &str, request: Q) -> Result<A, HarnessError>
    where
        Q: prost::Message + Default + 'static,
        A: prost::Message + Default + 'static,
    {
        let codec = tonic_prost::ProstCodec::<Q, A>::default();
        let answer = self.ready().await?.unary(tonic::Request::new(request), connect::path(rpc)?, codec).await;
        answer.map(tonic::Response::into_inner).map_err(HarnessError::Refused)
    }

    async fn listen<Q, A>(&self, rpc: &str, request: Q) -> Result<impl Stream<Item = Result<A, HarnessError>> + use<Q, A>, HarnessError>
    where
        Q: prost::Message + Default + 'static,
        A: prost::Message + Default + 'static,
    {
        let codec = tonic_prost::ProstCodec::<Q, A>::default();
        let answer = self.ready().await?.server_streaming(tonic::Request::new(request), connect::path(rpc)?, codec).await;
        Ok(answer.map_err(HarnessError::Refused)?.into_inner().map(|one| one.map_err(HarnessError::Refused)))
    }

    async fn checked(&self, rpc: &str, type_name: &str, config: &Value) -> Result<Diagnostics, HarnessError> {
        let request = wire::ConfigRequest { type_name: type_name.to_owned(), config: sent(config) };
        let answer: wire::DiagnosticsResponse = self.ask(rpc, request).await?;
        Ok(told(answer.diagnostics))
    }

    /// Configures the provider.
    pub async fn configure(&self, config: &Value) -> Result<Diagnostics, HarnessError> {
        let request = wire::ConfigureRequest { terraform_version: "0.0.0-harness".to_owned(), config: sent(config) };
        let answer: wire::DiagnosticsResponse = self.ask("ConfigureProvider", request).await?;
        Ok(told(answer.diagnostics))
    }

    /// Checks a resource's configuration.
    pub async fn validate(&self, type_name: &str, config: &Value) -> Result<Diagnostics, HarnessError> {
        let (config, client_capabilities) = (sent(config), self.capabilities());
        let request = wire::ValidateResourceRequest { type_name: type_name.to_owned(), config, client_capabilities };
        let answer: wire::DiagnosticsResponse = self.ask("ValidateResourceConfig", request).await?;
        Ok(told(answer.diagnostics))
    }

    /// Plans: a null prior state creates, a null proposed one destroys.
    pub async fn plan(&self, type_name: &str, prior: &Value, proposed: &Value, config: &Value) -> Result<PlanAnswer, HarnessError> {
        let request = wire::PlanRequest {
            type_name: type_name.to_owned(),
            prior_state: sent(prior),
            proposed_new_state: sent(proposed),
            config: sent(config),
            client_capabilities: self.capabilities(),
            ..wire::PlanRequest::default()
        };
        let answer: wire::PlanResponse = self.ask("PlanResourceChange", request).await?;
        Ok(PlanAnswer {
            state: read(self.types.resource(type_name)?, answer.planned_state)?,
            requires_replace: answer.requires_replace.into_iter().map(path_of).collect(),
            private: answer.planned_private,
            deferred: answer.deferred.is_some(),
            diagnostics: told(answer.diagnostics),
        })
    }

    /// Applies a plan.
    pub async fn apply(&self, type_name: &str, prior: &Value, planned: &Value, config: &Value) -> Result<StateAnswer, HarnessError> {
        let request = wire::ApplyRequest {
            type_name: type_name.to_owned(),
            prior_state: sent(prior),
            planned_state: sent(planned),
            config: sent(config),
            ..wire::ApplyRequest::default()
        };
        let answer: wire::ApplyResponse = self.ask("ApplyResourceChange", request).await?;
        self.state(type_name, answer.new_state, answer.new_identity, answer.private, None, answer.diagnostics)
    }

    /// Reads.
    pub async fn read(&self, type_name: &str, state: &Value) -> Result<StateAnswer, HarnessError> {
        let request = wire::ReadRequest {
            type_name: type_name.to_owned(),
            current_state: sent(state),
            client_capabilities: self.capabilities(),
            ..wire::ReadRequest::default()
        };
        let answer: wire::ReadResponse = self.ask("ReadResource", request).await?;
        self.state(type_name, answer.new_state, answer.new_identity, answer.private, answer.deferred, answer.diagnostics)
    }

    /// Imports by id, or by identity where one is given.
    pub async fn import(&self, type_name: &str, id: &str, identity: Option<&Value>) -> Result<StateAnswer, HarnessError> {
        let identity = identity.map(|value| wire::IdentityData { identity_data: sent(value) });
        let (type_name_sent, id) = (type_name.to_owned(), id.to_owned());
        let request = wire::ImportRequest { type_name: type_name_sent, id, client_capabilities: self.capabilities(), identity };
        let mut answer: wire::ImportResponse = self.ask("ImportResourceState", request).await?;
        let found = answer.imported_resources.pop().unwrap_or_default();
        self.state(type_name, found.state, found.identity, found.private, answer.deferred, answer.diagnostics)
    }

    /// Moves the state of another type here.
    pub async fn move_from(&self, provider: &str, from: &str, state: &str, to: &str) -> Result<StateAnswer, HarnessError> {
        let request = wire::MoveRequest {
            source_provider_address: provider.to_owned(),
            source_type_name: from.to_owned(),
            source_state: Some(wire::RawState { json: state.as_bytes().to_vec() }),
            target_type_name: to.to_owned(),
            ..wire::MoveRequest::default()
        };
        let answer: wire::MoveResponse = self.ask("MoveResourceState", request).await?;
        self.state(to, answer.target_state, answer.target_identity, answer.target_private, None, answer.diagnostics)
    }

    /// Reads a stored state of an older version.
    pub async fn upgrade(&self, type_name: &str, version: i64, state: &str) -> Result<StateAnswer, HarnessError> {
        let raw_state = Some(wire::RawState { json: state.as_bytes().to_vec() });
        let request = wire::UpgradeRequest { type_name: type_name.to_owned(), version, raw_state };
        let answer: wire::ValueResponse = self.ask("UpgradeResourceState", request).await?;
        self.state(type_name, answer.value, None, Vec::new(), None, answer.diagnostics)
    }

    /// Reads a stored identity of an older version.
    pub async fn upgrade_identity(&self, type_name: &str, version: i64, identity: &str) -> Result<Value, HarnessError> {
        let raw_state = Some(wire::RawState { json: identity.as_bytes().to_vec() });
        let request = wire::UpgradeRequest { type_name: type_name.to_owned(), version, raw_state };
        let answer: wire::UpgradeIdentityResponse = self.ask("UpgradeResourceIdentity", request).await?;
        self.identity(type_name, answer.upgraded_identity)
    }

    /// The configuration of an imported object.
    pub async fn generate_config(&self, type_name: &str, state: &Value) -> Result<Value, HarnessError> {
        let request = wire::GenerateConfigRequest { type_name: type_name.to_owned(), state: sent(state) };
        let answer: wire::ValueResponse = self.ask("GenerateResourceConfig", request).await?;
        read(self.types.resource(type_name)?, answer.value)
    }

    fn identity(&self, type_name: &str, sent: Option<wire::IdentityData>) -> Result<Value, HarnessError> {
        match (self.types.identity(type_name), sent) {
            (Some(of), Some(sent)) => read(of, sent.identity_data),
            (None, _) | (_, None) => Ok(Value::Null),
        }
    }

    fn state(
        &self,
        type_name: &str,
        state: Option<wire::DynamicValue>,
        identity: Option<wire::IdentityData>,
        private: Vec<u8>,
        deferred: Option<wire::Deferred>,
        diagnostics: Vec<wire::Diagnostic>,
    ) -> Result<StateAnswer, HarnessError> {
        Ok(StateAnswer {
            state: read(self.types.resource(type_name)?, state)?,
            identity: self.identity(type_name, identity)?,
            private,
            deferred: deferred.is_some(),
            diagnostics: told(diagnostics),
        })
    }
}
