//! The RPCs: bytes to values, values to the provider's traits, and back. One file for each part of the protocol.
mod actions;
mod apply;
mod configure;
mod ephemeral;
mod functions;
mod import;
mod lists;
mod plan;
mod schemas;
mod states;
mod upgrade;
mod validate;

#[cfg(any(test, feature = "harness"))]
pub(crate) use states::written;

use crate::panics::guard;
use crate::{
    Action, Call, Client, DataSource, Diagnostic, Diagnostics, Ephemeral, Function, IdentitySchema, List, Provider, Resource, Schema, Signature,
    StateStore,
};
use crate::{RawState, Stop, Type, Value, from_msgpack, to_msgpack, wire};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// One thing that the provider offers, with its schema read once.
pub(crate) struct Kind<T: ?Sized> {
    what: Arc<T>,
    schema: Schema,
    of: Type,
    identity: Option<(IdentitySchema, Type)>,
}

type Kinds<T> = BTreeMap<String, Kind<T>>;

/// A provider with its schemas read once.
pub(crate) struct Core {
    provider: Arc<dyn Provider>,
    config: Schema,
    config_type: Type,
    meta: Option<(Schema, Type)>,
    resources: Kinds<dyn Resource>,
    data_sources: Kinds<dyn DataSource>,
    ephemeral: Kinds<dyn Ephemeral>,
    lists: Kinds<dyn List>,
    actions: Kinds<dyn Action>,
    states: Kinds<dyn StateStore>,
    functions: BTreeMap<String, (Arc<dyn Function>, Signature)>,
    /// What makes the provider itself wrong; told with its schemas.
    defects: Vec<String>,
    /// The chunks in which states travel, as agreed with the client.
    chunk_bytes: AtomicUsize,
    /// Cancelled by StopProvider: whoever waits should answer with what is known.
    pub(crate) stop: Stop,
    /// Cancelled by Shutdown: the server ends.
    pub(crate) done: Stop,
}

fn kinds<T: ?Sized>(all: Vec<(&'static str, Arc<T>)>, schema: impl Fn(&T) -> Schema, defects: &mut Vec<String>) -> Kinds<T> {
    let mut found = BTreeMap::new();
    for (name, what) in all {
        let schema = schema(&what);
        defects.extend(schema.defects().into_iter().map(|defect| format!("{name}: {defect}")));
        let of = schema.value_type();
        if found.insert(name.to_owned(), Kind { what, schema, of, identity: None }).is_some() {
            defects.push(format!("{name} is offered twice"));
        }
    }
    found
}

impl Core {
    pub(crate) fn new(provider: Arc<dyn Provider>) -> Self {
        let mut defects = Vec::new();
        let config = provider.schema();
        defects.extend(config.defects().into_iter().map(|defect| format!("provider: {defect}")));
        let mut resources = kinds(provider.resources(), Resource::schema, &mut defects);
        for kind in resources.values_mut() {
            kind.identity = kind.what.identity().map(|identity| (identity.clone(), identity.value_type()));
        }
        let lists = kinds(provider.list_resources(), List::schema, &mut defects);
        for name in lists.keys().filter(|name| resources.get(*name).is_none_or(|kind| kind.identity.is_none())) {
            defects.push(format!("{name} can be listed, but there is no managed resource of that name with an identity"));
        }
        let functions = provider.functions().into_iter().map(|(name, function)| {
            let signature = function.signature();
            (name.to_owned(), (function, signature))
        });
        Self {
            config_type: config.value_type(),
            config,
            meta: provider.meta().map(|schema| (schema.clone(), schema.value_type())),
            data_sources: kinds(provider.data_sources(), DataSource::schema, &mut defects),
            ephemeral: kinds(provider.ephemeral_resources(), Ephemeral::schema, &mut defects),
            actions: kinds(provider.actions(), Action::schema, &mut defects),
            states: kinds(provider.state_stores(), StateStore::schema, &mut defects),
            functions: functions.collect(),
            resources,
            lists,
            defects,
            provider,
            chunk_bytes: AtomicUsize::new(states::CHUNK_BYTES),
            stop: Stop::new(),
            done: Stop::new(),
        }
    }

    fn resource(&self, name: &str) -> Result<&Kind<dyn Resource>, Diagnostic> {
        find(&self.resources, "resource", name)
    }

    fn data_source(&self, name: &str) -> Result<&Kind<dyn DataSource>, Diagnostic> {
        find(&self.data_sources, "data source", name)
    }

    /// The circumstances of a call, but for what only some calls bring.
    fn call(&self, client: Option<&wire::ClientCapabilities>, private: &[u8]) -> Call {
        Call { stop: self.stop.clone(), private: private.to_vec(), client: Client::from_wire(client), ..Call::default() }
    }

    fn meta(&self, sent: Option<&wire::DynamicValue>) -> Result<Value, Diagnostic> {
        self.meta.as_ref().map_or(Ok(Value::Null), |(_, of)| decode(of, sent))
    }

    pub(crate) async fn stop(self: Arc<Self>, _: wire::Empty) -> wire::StopResponse {
        tracing::debug!("stop requested");
        self.stop.cancel();
        wire::StopResponse::default()
    }

    pub(crate) async fn shutdown(self: Arc<Self>, _: wire::Empty) -> wire::Empty {
        self.done.cancel();
        wire::Empty {}
    }
}

impl<T: ?Sized> Kind<T> {
    fn identity(&self, sent: Option<&wire::IdentityData>) -> Result<Value, Diagnostic> {
        match (&self.identity, sent.and_then(|sent| sent.identity_data.as_ref())) {
            (Some((_, of)), Some(sent)) => decode(of, Some(sent)),
            (None, _) | (_, None) => Ok(Value::Null),
        }
    }

    /// The identity of an answer: what the resource says, else what its state says, else what it was.
    fn identity_of(&self, said: Option<Value>, state: &Value, before: &Value) -> Option<wire::IdentityData> {
        let (schema, _) = self.identity.as_ref()?;
        let identity = said.or_else(|| schema.of_state(state)).or_else(|| (!before.is_null()).then(|| before.clone()))?;
        Some(wire::IdentityData { identity_data: encode(&identity) })
    }
}

fn find<'a, T: ?Sized>(kinds: &'a Kinds<T>, what: &str, name: &str) -> Result<&'a Kind<T>, Diagnostic> {
    kinds.get(name).ok_or_else(|| {
        Diagnostic::error(format!("This provider has no {what} `{name}`"), "The client and the provider disagree; run `terraform init -upgrade`.")
    })
}

/// Answers an RPC that says nothing but diagnostics.
async fn answer(call: impl Future<Output = Result<Diagnostics, Diagnostic>>) -> wire::DiagnosticsResponse {
    let diagnostics = guard(call, Err).await.unwrap_or_else(Diagnostics::from);
    wire::DiagnosticsResponse { diagnostics: diagnostics.to_wire() }
}

fn decode(of: &Type, sent: Option<&wire::DynamicValue>) -> Result<Value, Diagnostic> {
    let Some(sent) = sent else { return Ok(Value::Null) };
    if !sent.msgpack.is_empty() {
        return from_msgpack(of, &sent.msgpack).map_err(|error| unreadable(&error));
    }
    RawState::new(&sent.json).read(of).map_err(|error| unreadable(&error))
}

fn unreadable(error: &dyn std::error::Error) -> Diagnostic {
    Diagnostic::error("A value from Terraform cannot be read", error.to_string())
}

fn encode(value: &Value) -> Option<wire::DynamicValue> {
    // Writing to memory cannot fail; an absent value would be reported by Terraform as the provider's error.
    to_msgpack(value).ok().map(|msgpack| wire::DynamicValue { msgpack, json: Vec::new() })
}
