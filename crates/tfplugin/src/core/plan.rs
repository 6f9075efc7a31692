//! Read and plan.
use super::{Core, Kind, decode, encode, guard};
use crate::{Call, Client, Deferred, Diagnostic, PlanRequest, Planned, Resource, Value, wire};
use std::sync::Arc;

impl Core {
    pub(crate) async fn read(self: Arc<Self>, request: wire::ReadRequest) -> wire::ReadResponse {
        let client = Client::from_wire(request.client_capabilities.as_ref());
        let call = async {
            let kind = self.resource(&request.type_name)?;
            let state = decode(&kind.of, request.current_state.as_ref())?;
            let mut call = self.call(request.client_capabilities.as_ref(), &request.private);
            call.meta = self.meta(request.provider_meta.as_ref())?;
            call.identity = kind.identity(request.current_identity.as_ref())?;
            let mut read = kind.what.read(state, &call).await;
            kind.schema.forget_write_only(&mut read.state);
            Ok((kind.identity_of(read.identity.take(), &read.state, &call.identity), read))
        };
        match guard(call, Err).await {
            Ok((new_identity, read)) => wire::ReadResponse {
                new_state: encode(&read.state),
                diagnostics: read.diagnostics.to_wire(),
                private: read.private.unwrap_or(request.private),
                deferred: Deferred::to_wire(read.deferred, client),
                new_identity,
            },
            Err(refused) => wire::ReadResponse {
                new_state: request.current_state,
                diagnostics: vec![refused.to_wire()],
                private: request.private,
                deferred: None,
                new_identity: request.current_identity,
            },
        }
    }

    pub(crate) async fn plan(self: Arc<Self>, request: wire::PlanRequest) -> wire::PlanResponse {
        let client = Client::from_wire(request.client_capabilities.as_ref());
        let call = async {
            let kind = self.resource(&request.type_name)?;
            let mut call = self.call(request.client_capabilities.as_ref(), &request.prior_private);
            call.meta = self.meta(request.provider_meta.as_ref())?;
            call.identity = kind.identity(request.prior_identity.as_ref())?;
            planned(kind, &request, &call).await
        };
        match guard(call, Err).await {
            Ok(planned) => wire::PlanResponse {
                planned_state: encode(&planned.state),
                requires_replace: planned.requires_replace.iter().map(crate::Path::to_wire).collect(),
                planned_private: planned.private.unwrap_or(request.prior_private),
                diagnostics: planned.diagnostics.to_wire(),
                deferred: Deferred::to_wire(planned.deferred, client),
                // An identity is for life; that of a new object is known when it is there.
                planned_identity: request.prior_identity,
            },
            Err(refused) => wire::PlanResponse {
                planned_state: request.prior_state,
                requires_replace: Vec::new(),
                planned_private: request.prior_private,
                diagnostics: vec![refused.to_wire()],
                deferred: None,
                planned_identity: request.prior_identity,
            },
        }
    }
}

async fn planned(kind: &Kind<dyn Resource>, request: &wire::PlanRequest, call: &Call) -> Result<Planned, Diagnostic> {
    let prior = decode(&kind.of, request.prior_state.as_ref())?;
    let mut proposed = decode(&kind.of, request.proposed_new_state.as_ref())?;
    if proposed.is_null() {
        return Ok(Planned::with(Value::Null, kind.what.plan_delete(&prior, call).await));
    }
    let config = decode(&kind.of, request.config.as_ref())?;
    kind.schema.modify(&mut proposed, &prior, &config);
    let mut planned = kind.what.plan(PlanRequest { prior: prior.clone(), proposed, config }, call).await;
    kind.schema.forget_write_only(&mut planned.state);
    let asked = std::mem::take(&mut planned.requires_replace);
    planned.requires_replace = kind.schema.replaced(&planned.state, &prior);
    planned.requires_replace.extend(asked.into_iter().filter(|_| !prior.is_null()));
    Ok(planned)
}
