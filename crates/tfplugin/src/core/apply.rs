//! Create, update and delete; data sources.
use super::{Core, Kind, decode, encode, guard};
use crate::{Applied, Call, Client, Deferred, Resource, Value, wire};
use std::sync::Arc;

impl Core {
    pub(crate) async fn apply(self: Arc<Self>, request: wire::ApplyRequest) -> wire::ApplyResponse {
        let call = async {
            let kind = self.resource(&request.type_name)?;
            let prior = decode(&kind.of, request.prior_state.as_ref())?;
            let planned = decode(&kind.of, request.planned_state.as_ref())?;
            let config = decode(&kind.of, request.config.as_ref())?;
            let mut call = self.call(None, &request.planned_private);
            call.meta = self.meta(request.provider_meta.as_ref())?;
            call.identity = kind.identity(request.planned_identity.as_ref())?;
            let mut applied = change(kind, prior, planned, config, &call).await;
            kind.schema.forget_write_only(&mut applied.state);
            Ok((kind.identity_of(applied.identity.take(), &applied.state, &call.identity), applied))
        };
        match guard(call, Err).await {
            Ok((new_identity, applied)) => wire::ApplyResponse {
                new_state: encode(&applied.state),
                private: applied.private.unwrap_or(request.planned_private),
                diagnostics: applied.diagnostics.to_wire(),
                new_identity,
            },
            Err(refused) => wire::ApplyResponse {
                new_state: request.prior_state,
                private: request.planned_private,
                diagnostics: vec![refused.to_wire()],
                new_identity: request.planned_identity,
            },
        }
    }

    pub(crate) async fn read_data_source(self: Arc<Self>, request: wire::ReadDataSourceRequest) -> wire::ReadDataSourceResponse {
        let client = Client::from_wire(request.client_capabilities.as_ref());
        let call = async {
            let kind = self.data_source(&request.type_name)?;
            let config = decode(&kind.of, request.config.as_ref())?;
            let mut call = self.call(request.client_capabilities.as_ref(), &[]);
            call.meta = self.meta(request.provider_meta.as_ref())?;
            Ok(kind.what.read(config, &call).await)
        };
        match guard(call, Err).await {
            Ok(read) => wire::ReadDataSourceResponse {
                state: encode(&read.state),
                diagnostics: read.diagnostics.to_wire(),
                deferred: Deferred::to_wire(read.deferred, client),
            },
            Err(refused) => wire::ReadDataSourceResponse { state: None, diagnostics: vec![refused.to_wire()], deferred: None },
        }
    }
}

async fn change(kind: &Kind<dyn Resource>, prior: Value, planned: Value, config: Value, call: &Call) -> Applied {
    match (prior.is_null(), planned.is_null()) {
        (true, true) => Applied::default(),
        (true, false) => kind.what.create(planned, config, call).await,
        (false, true) => kind.what.delete(prior, call).await,
        (false, false) => kind.what.update(prior, planned, config, call).await,
    }
}
