//! The RPCs: bytes to values, values to the provider's traits, and back.
use crate::{Applied, DataSource, Diagnostic, Diagnostics, PlanRequest, Planned, Provider, Resource, Schema, Stop, Type, Value, wire};
use crate::{from_json, from_msgpack, to_msgpack};
use futures_util::FutureExt;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

struct Kind<T: ?Sized> {
    what: Arc<T>,
    schema: Schema,
    of: Type,
}

/// A provider with its schemas read once.
pub(crate) struct Core {
    provider: Arc<dyn Provider>,
    config: Schema,
    config_type: Type,
    resources: BTreeMap<String, Kind<dyn Resource>>,
    data_sources: BTreeMap<String, Kind<dyn DataSource>>,
    /// Cancelled by StopProvider: whoever waits should answer with what is known.
    pub(crate) stop: Stop,
    /// Cancelled by Shutdown: the server ends.
    pub(crate) done: Stop,
}

fn capabilities() -> Option<wire::ServerCapabilities> {
    Some(wire::ServerCapabilities { plan_destroy: true, get_provider_schema_optional: true })
}

fn decode(of: &Type, sent: Option<&wire::DynamicValue>) -> Result<Value, Diagnostic> {
    let Some(sent) = sent else { return Ok(Value::Null) };
    if !sent.msgpack.is_empty() {
        return from_msgpack(of, &sent.msgpack).map_err(|error| unreadable(&error));
    }
    if sent.json.is_empty() {
        return Ok(Value::Null);
    }
    let json = serde_json::from_slice(&sent.json).map_err(|error| unreadable(&error))?;
    from_json(of, &json).map_err(|error| unreadable(&error))
}

fn unreadable(error: &dyn std::error::Error) -> Diagnostic {
    Diagnostic::error("A value from Terraform cannot be read", error.to_string())
}

fn encode(value: &Value) -> Option<wire::DynamicValue> {
    // Writing to memory cannot fail; an absent value would be reported by Terraform as the provider's error.
    to_msgpack(value).ok().map(|msgpack| wire::DynamicValue { msgpack, json: Vec::new() })
}

fn no_such(what: &str, name: &str) -> Diagnostic {
    Diagnostic::error(format!("This provider has no {what} `{name}`"), "Terraform and the provider disagree; run `terraform init -upgrade`.")
}

/// Runs one RPC; a panic is answered as a diagnostic by `fallback`.
async fn guard<T>(call: impl Future<Output = T>, fallback: impl FnOnce(Diagnostic) -> T) -> T {
    match AssertUnwindSafe(call).catch_unwind().await {
        Ok(answer) => answer,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
            let detail = format!("{}. This is a defect of the provider; the state was left as it was.", text.unwrap_or_default());
            fallback(Diagnostic::error("The provider panicked", detail))
        }
    }
}

impl Core {
    pub(crate) fn new(provider: Arc<dyn Provider>) -> Self {
        let config = provider.schema();
        let resources = provider.resources().into_iter().map(|(name, what)| {
            let schema = what.schema();
            (name.to_owned(), Kind { of: schema.value_type(), schema, what })
        });
        let data_sources = provider.data_sources().into_iter().map(|(name, what)| {
            let schema = what.schema();
            (name.to_owned(), Kind { of: schema.value_type(), schema, what })
        });
        let (resources, data_sources) = (resources.collect(), data_sources.collect());
        Self { config_type: config.value_type(), config, resources, data_sources, provider, stop: Stop::new(), done: Stop::new() }
    }

    fn resource(&self, name: &str) -> Result<&Kind<dyn Resource>, Diagnostic> {
        self.resources.get(name).ok_or_else(|| no_such("resource", name))
    }

    fn data_source(&self, name: &str) -> Result<&Kind<dyn DataSource>, Diagnostic> {
        self.data_sources.get(name).ok_or_else(|| no_such("data source", name))
    }

    pub(crate) async fn metadata(self: Arc<Self>, _: wire::Empty) -> wire::MetadataResponse {
        let name = |name: &String| wire::TypeName { type_name: name.clone() };
        wire::MetadataResponse {
            server_capabilities: capabilities(),
            diagnostics: Vec::new(),
            data_sources: self.data_sources.keys().map(name).collect(),
            resources: self.resources.keys().map(name).collect(),
        }
    }

    pub(crate) async fn schemas(self: Arc<Self>, _: wire::Empty) -> wire::SchemaResponse {
        wire::SchemaResponse {
            provider: Some(self.config.to_wire()),
            resource_schemas: self.resources.iter().map(|(name, kind)| (name.clone(), kind.schema.to_wire())).collect(),
            data_source_schemas: self.data_sources.iter().map(|(name, kind)| (name.clone(), kind.schema.to_wire())).collect(),
            diagnostics: Vec::new(),
            server_capabilities: capabilities(),
        }
    }

    pub(crate) async fn identity_schemas(self: Arc<Self>, _: wire::Empty) -> wire::Empty {
        wire::Empty {}
    }

    pub(crate) async fn validate_provider(self: Arc<Self>, request: wire::ValidateProviderRequest) -> wire::ValidateProviderResponse {
        let call = async {
            match decode(&self.config_type, request.config.as_ref()) {
                Ok(config) => self.provider.validate(&config).await,
                Err(refused) => refused.into(),
            }
        };
        let diagnostics = guard(call, Diagnostics::from).await;
        wire::ValidateProviderResponse { diagnostics: diagnostics.to_wire() }
    }

    pub(crate) async fn configure(self: Arc<Self>, request: wire::ConfigureRequest) -> wire::DiagnosticsResponse {
        let call = async {
            match decode(&self.config_type, request.config.as_ref()) {
                Ok(config) => self.provider.configure(config, &request.terraform_version).await,
                Err(refused) => refused.into(),
            }
        };
        let diagnostics = guard(call, Diagnostics::from).await;
        wire::DiagnosticsResponse { diagnostics: diagnostics.to_wire() }
    }

    pub(crate) async fn validate_resource(self: Arc<Self>, request: wire::ConfigRequest) -> wire::DiagnosticsResponse {
        let call = async {
            let kind = self.resource(&request.type_name)?;
            let config = decode(&kind.of, request.config.as_ref())?;
            Ok(kind.what.validate(&config).await)
        };
        let diagnostics = guard(call, Err).await.unwrap_or_else(Diagnostics::from);
        wire::DiagnosticsResponse { diagnostics: diagnostics.to_wire() }
    }

    pub(crate) async fn validate_data_source(self: Arc<Self>, request: wire::ConfigRequest) -> wire::DiagnosticsResponse {
        let call = async {
            let kind = self.data_source(&request.type_name)?;
            let config = decode(&kind.of, request.config.as_ref())?;
            Ok(kind.what.validate(&config).await)
        };
        let diagnostics = guard(call, Err).await.unwrap_or_else(Diagnostics::from);
        wire::DiagnosticsResponse { diagnostics: diagnostics.to_wire() }
    }

    pub(crate) async fn upgrade(self: Arc<Self>, request: wire::UpgradeRequest) -> wire::ValueResponse {
        let call = async {
            let kind = self.resource(&request.type_name)?;
            let raw = request.raw_state.unwrap_or_default().json;
            if request.version == kind.schema.version() {
                // The state's own text: no number loses a digit on the way.
                return Ok(wire::DynamicValue { msgpack: Vec::new(), json: raw });
            }
            let json = serde_json::from_slice(&raw).map_err(|error| unreadable(&error))?;
            let value = kind.what.upgrade(request.version, &json, &kind.of)?;
            Ok(encode(&value).unwrap_or_default())
        };
        match guard(call, Err).await {
            Ok(value) => wire::ValueResponse { value: Some(value), diagnostics: Vec::new() },
            Err(refused) => wire::ValueResponse { value: None, diagnostics: vec![refused.to_wire()] },
        }
    }

    pub(crate) async fn read(self: Arc<Self>, request: wire::ReadRequest) -> wire::ReadResponse {
        let call = async {
            let kind = self.resource(&request.type_name)?;
            let state = decode(&kind.of, request.current_state.as_ref())?;
            Ok(kind.what.read(state, request.private.clone(), &self.stop).await)
        };
        match guard(call, Err).await {
            Ok(read) => wire::ReadResponse { new_state: encode(&read.state), diagnostics: read.diagnostics.to_wire(), private: read.private },
            Err(refused) => wire::ReadResponse { new_state: request.current_state, diagnostics: vec![refused.to_wire()], private: request.private },
        }
    }

    pub(crate) async fn plan(self: Arc<Self>, request: wire::PlanRequest) -> wire::PlanResponse {
        let call = async {
            let kind = self.resource(&request.type_name)?;
            let prior = decode(&kind.of, request.prior_state.as_ref())?;
            let mut proposed = decode(&kind.of, request.proposed_new_state.as_ref())?;
            if proposed.is_null() {
                let diagnostics = kind.what.plan_delete(&prior).await;
                return Ok(Planned { diagnostics, private: request.prior_private.clone(), ..Planned::default() });
            }
            let config = decode(&kind.of, request.config.as_ref())?;
            if prior.is_null() {
                kind.schema.mark_unknown(&mut proposed, &config);
            }
            let request = PlanRequest { prior, proposed, config, private: request.prior_private.clone() };
            Ok(kind.what.plan(request, &self.stop).await)
        };
        match guard(call, Err).await {
            Ok(planned) => wire::PlanResponse {
                planned_state: encode(&planned.state),
                requires_replace: planned.requires_replace.iter().map(crate::Path::to_wire).collect(),
                planned_private: planned.private,
                diagnostics: planned.diagnostics.to_wire(),
            },
            Err(refused) => wire::PlanResponse {
                planned_state: request.prior_state,
                requires_replace: Vec::new(),
                planned_private: request.prior_private,
                diagnostics: vec![refused.to_wire()],
            },
        }
    }

    pub(crate) async fn apply(self: Arc<Self>, request: wire::ApplyRequest) -> wire::ApplyResponse {
        let call = async {
            let kind = self.resource(&request.type_name)?;
            let prior = decode(&kind.of, request.prior_state.as_ref())?;
            let planned = decode(&kind.of, request.planned_state.as_ref())?;
            let config = decode(&kind.of, request.config.as_ref())?;
            Ok(self.change(kind.what.as_ref(), prior, planned, config, request.planned_private.clone()).await)
        };
        match guard(call, Err).await {
            Ok(applied) => {
                wire::ApplyResponse { new_state: encode(&applied.state), private: applied.private, diagnostics: applied.diagnostics.to_wire() }
            }
            Err(refused) => {
                wire::ApplyResponse { new_state: request.prior_state, private: request.planned_private, diagnostics: vec![refused.to_wire()] }
            }
        }
    }

    async fn change(&self, resource: &dyn Resource, prior: Value, planned: Value, config: Value, private: Vec<u8>) -> Applied {
        match (prior.is_null(), planned.is_null()) {
            (true, true) => Applied::default(),
            (true, false) => resource.create(planned, config, private, &self.stop).await,
            (false, true) => resource.delete(prior, private, &self.stop).await,
            (false, false) => resource.update(prior, planned, config, private, &self.stop).await,
        }
    }

    pub(crate) async fn import(self: Arc<Self>, request: wire::ImportRequest) -> wire::ImportResponse {
        let call = async {
            let kind = self.resource(&request.type_name)?;
            Ok(kind.what.import(&request.id, &self.stop).await)
        };
        match guard(call, Err).await {
            Ok(found) if found.diagnostics.has_error() || found.state.is_null() => {
                let mut diagnostics = found.diagnostics;
                if !diagnostics.has_error() {
                    diagnostics
                        .push(Diagnostic::error("Nothing to import", format!("There is no `{}` with id `{}`.", request.type_name, request.id)));
                }
                wire::ImportResponse { imported_resources: Vec::new(), diagnostics: diagnostics.to_wire() }
            }
            Ok(found) => {
                let imported = wire::ImportedResource { type_name: request.type_name, state: encode(&found.state), private: found.private };
                wire::ImportResponse { imported_resources: vec![imported], diagnostics: found.diagnostics.to_wire() }
            }
            Err(refused) => wire::ImportResponse { imported_resources: Vec::new(), diagnostics: vec![refused.to_wire()] },
        }
    }

    pub(crate) async fn read_data_source(self: Arc<Self>, request: wire::ConfigRequest) -> wire::ValueResponse {
        let call = async {
            let kind = self.data_source(&request.type_name)?;
            let config = decode(&kind.of, request.config.as_ref())?;
            Ok(kind.what.read(config, &self.stop).await)
        };
        match guard(call, Err).await {
            Ok(read) => wire::ValueResponse { value: encode(&read.state), diagnostics: read.diagnostics.to_wire() },
            Err(refused) => wire::ValueResponse { value: None, diagnostics: vec![refused.to_wire()] },
        }
    }

    pub(crate) async fn stop(self: Arc<Self>, _: wire::Empty) -> wire::Empty {
        tracing::debug!("stop requested");
        self.stop.cancel();
        wire::Empty {}
    }

    pub(crate) async fn shutdown(self: Arc<Self>, _: wire::Empty) -> wire::Empty {
        self.done.cancel();
        wire::Empty {}
    }
}
