//! States and identities of older versions.
use super::{Core, encode, guard, unreadable};
use crate::{RawState, wire};
use std::sync::Arc;

impl Core {
    pub(crate) async fn upgrade(self: Arc<Self>, request: wire::UpgradeRequest) -> wire::ValueResponse {
        let call = async {
            let kind = self.resource(&request.type_name)?;
            let raw = request.raw_state.as_ref().map(|raw| raw.json.as_slice()).unwrap_or_default();
            let state = RawState::new(raw);
            // A state of this version may still lack attributes that were added since, or hold some that are gone.
            let value = if request.version == kind.schema.version() {
                state.read(&kind.of).map_err(|error| unreadable(&error))?
            } else {
                kind.what.upgrade(request.version, state, &kind.of)?
            };
            Ok(encode(&value))
        };
        match guard(call, Err).await {
            Ok(value) => wire::ValueResponse { value, diagnostics: Vec::new() },
            Err(refused) => wire::ValueResponse { value: None, diagnostics: vec![refused.to_wire()] },
        }
    }

    pub(crate) async fn upgrade_identity(self: Arc<Self>, request: wire::UpgradeRequest) -> wire::UpgradeIdentityResponse {
        let call = async {
            let kind = self.resource(&request.type_name)?;
            let raw = request.raw_state.as_ref().map(|raw| raw.json.as_slice()).unwrap_or_default();
            let Some((schema, of)) = &kind.identity else { return Ok(None) };
            let identity = if request.version == schema.version() {
                RawState::new(raw).read(of).map_err(|error| unreadable(&error))?
            } else {
                kind.what.upgrade_identity(request.version, RawState::new(raw), of)?
            };
            Ok(Some(wire::IdentityData { identity_data: encode(&identity) }))
        };
        match guard(call, Err).await {
            Ok(upgraded_identity) => wire::UpgradeIdentityResponse { upgraded_identity, diagnostics: Vec::new() },
            Err(refused) => wire::UpgradeIdentityResponse { upgraded_identity: None, diagnostics: vec![refused.to_wire()] },
        }
    }
}
