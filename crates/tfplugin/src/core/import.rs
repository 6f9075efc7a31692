//! Import, move, and the configuration of what was imported.
use super::{Core, decode, encode, guard};
use crate::{Applied, Client, Deferred, Diagnostic, ImportKey, MoveSource, RawState, wire};
use std::sync::Arc;

/// Says that nothing was found, unless the answer says why itself.
fn found(mut answer: Applied, type_name: &str, key: &ImportKey) -> Applied {
    if answer.state.is_null() && answer.deferred.is_none() && !answer.diagnostics.has_error() {
        let what = match key {
            ImportKey::Id(id) => format!("id `{id}`"),
            ImportKey::Identity(_) => "this identity".to_owned(),
        };
        answer.diagnostics.push(Diagnostic::error("Nothing to import", format!("There is no `{type_name}` with {what}.")));
    }
    answer
}

impl Core {
    pub(crate) async fn import(self: Arc<Self>, request: wire::ImportRequest) -> wire::ImportResponse {
        let client = Client::from_wire(request.client_capabilities.as_ref());
        let call = async {
            let kind = self.resource(&request.type_name)?;
            let call = self.call(request.client_capabilities.as_ref(), &[]);
            let identity = kind.identity(request.identity.as_ref())?;
            let key = if identity.is_null() { ImportKey::Id(request.id.clone()) } else { ImportKey::Identity(identity.clone()) };
            let mut answer = found(kind.what.import(&key, &call).await, &request.type_name, &key);
            kind.schema.forget_write_only(&mut answer.state);
            Ok((kind.identity_of(answer.identity.take(), &answer.state, &identity), answer))
        };
        match guard(call, Err).await {
            Ok((identity, answer)) => {
                let deferred = Deferred::to_wire(answer.deferred, client);
                let diagnostics = answer.diagnostics.to_wire();
                if answer.diagnostics.has_error() || (answer.state.is_null() && deferred.is_none()) {
                    return wire::ImportResponse { imported_resources: Vec::new(), diagnostics, deferred };
                }
                let (state, private) = (encode(&answer.state), answer.private.unwrap_or_default());
                let imported = wire::ImportedResource { type_name: request.type_name, state, private, identity };
                wire::ImportResponse { imported_resources: vec![imported], diagnostics, deferred }
            }
            Err(refused) => wire::ImportResponse { imported_resources: Vec::new(), diagnostics: vec![refused.to_wire()], deferred: None },
        }
    }

    pub(crate) async fn move_state(self: Arc<Self>, request: wire::MoveRequest) -> wire::MoveResponse {
        let call = async {
            let kind = self.resource(&request.target_type_name)?;
            let raw = |sent: &Option<wire::RawState>| sent.as_ref().map(|raw| raw.json.clone()).unwrap_or_default();
            let (state, identity) = (raw(&request.source_state), raw(&request.source_identity));
            let source = MoveSource {
                provider: &request.source_provider_address,
                type_name: &request.source_type_name,
                version: request.source_schema_version,
                state: RawState::new(&state),
                private: &request.source_private,
                identity: RawState::new(&identity),
            };
            let mut moved = kind.what.move_from(&source, &kind.of).ok_or_else(|| {
                let (from, to) = (&request.source_type_name, &request.target_type_name);
                let detail = format!("`{to}` takes over no state of `{from}` of the provider {}.", request.source_provider_address);
                Diagnostic::error(format!("A `{from}` cannot become a `{to}`"), detail)
            })?;
            kind.schema.forget_write_only(&mut moved.state);
            Ok((kind.identity_of(moved.identity.take(), &moved.state, &crate::Value::Null), moved))
        };
        match guard(call, Err).await {
            Ok((target_identity, moved)) => wire::MoveResponse {
                target_state: if moved.diagnostics.has_error() { None } else { encode(&moved.state) },
                diagnostics: moved.diagnostics.to_wire(),
                target_private: moved.private.unwrap_or_default(),
                target_identity,
            },
            Err(refused) => wire::MoveResponse { diagnostics: vec![refused.to_wire()], ..wire::MoveResponse::default() },
        }
    }

    pub(crate) async fn generate_config(self: Arc<Self>, request: wire::GenerateConfigRequest) -> wire::ValueResponse {
        let call = async {
            let kind = self.resource(&request.type_name)?;
            let state = decode(&kind.of, request.state.as_ref())?;
            Ok(encode(&kind.schema.config_of(&state)))
        };
        match guard(call, Err).await {
            Ok(value) => wire::ValueResponse { value, diagnostics: Vec::new() },
            Err(refused) => wire::ValueResponse { value: None, diagnostics: vec![refused.to_wire()] },
        }
    }
}
