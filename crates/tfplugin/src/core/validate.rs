//! Checks of configurations, without any connection: the schema's own first, then the provider's.
use super::{Core, Kind, decode, find, guard};
use crate::schema::write_only;
use crate::{Client, Diagnostic, Diagnostics, Value, wire};
use std::future::Future;
use std::sync::Arc;

/// Answers what the checks of one configuration found.
async fn answer(call: impl Future<Output = Result<Diagnostics, Diagnostic>>) -> wire::DiagnosticsResponse {
    let diagnostics = guard(call, Err).await.unwrap_or_else(Diagnostics::from);
    wire::DiagnosticsResponse { diagnostics: diagnostics.to_wire() }
}

/// The configuration, and what the schema says of it.
fn checked<'a, T: ?Sized>(kind: &'a Kind<T>, sent: Option<&wire::DynamicValue>) -> Result<(&'a T, Value, Diagnostics), Diagnostic> {
    let config = decode(&kind.of, sent)?;
    let found = kind.schema.check(&config);
    Ok((&kind.what, config, found))
}

impl Core {
    pub(crate) async fn validate_resource(self: Arc<Self>, request: wire::ValidateResourceRequest) -> wire::DiagnosticsResponse {
        answer(async {
            let kind = self.resource(&request.type_name)?;
            let (what, config, mut found) = checked(kind, request.config.as_ref())?;
            if !Client::from_wire(request.client_capabilities.as_ref()).write_only_allowed {
                let detail = "This client would keep the value in its state. Write-only attributes need Terraform or OpenTofu 1.11 or later.";
                let refused = |path| Diagnostic::error("This attribute is write-only", detail).at(path);
                found.extend(write_only(kind.schema.attributes(), &config).into_iter().map(refused).collect());
            }
            found.extend(what.validate(&config).await);
            Ok(found)
        })
        .await
    }

    pub(crate) async fn validate_data_source(self: Arc<Self>, request: wire::ConfigRequest) -> wire::DiagnosticsResponse {
        answer(async {
            let (what, config, mut found) = checked(self.data_source(&request.type_name)?, request.config.as_ref())?;
            found.extend(what.validate(&config).await);
            Ok(found)
        })
        .await
    }

    pub(crate) async fn validate_ephemeral(self: Arc<Self>, request: wire::ConfigRequest) -> wire::DiagnosticsResponse {
        answer(async {
            let kind = find(&self.ephemeral, "ephemeral resource", &request.type_name)?;
            let (what, config, mut found) = checked(kind, request.config.as_ref())?;
            found.extend(what.validate(&config).await);
            Ok(found)
        })
        .await
    }

    pub(crate) async fn validate_list(self: Arc<Self>, request: wire::ConfigRequest) -> wire::DiagnosticsResponse {
        answer(async {
            let (what, config, mut found) = checked(find(&self.lists, "list resource", &request.type_name)?, request.config.as_ref())?;
            found.extend(what.validate(&config).await);
            Ok(found)
        })
        .await
    }

    pub(crate) async fn validate_action(self: Arc<Self>, request: wire::ConfigRequest) -> wire::DiagnosticsResponse {
        answer(async {
            let (what, config, mut found) = checked(find(&self.actions, "action", &request.type_name)?, request.config.as_ref())?;
            found.extend(what.validate(&config).await);
            Ok(found)
        })
        .await
    }

    pub(crate) async fn validate_state_store(self: Arc<Self>, request: wire::ConfigRequest) -> wire::DiagnosticsResponse {
        answer(async {
            let (what, config, mut found) = checked(find(&self.states, "state store", &request.type_name)?, request.config.as_ref())?;
            found.extend(what.validate(&config).await);
            Ok(found)
        })
        .await
    }
}
