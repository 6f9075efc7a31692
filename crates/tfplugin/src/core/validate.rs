//! Checks of configurations, without any connection: the schema's own first, then the provider's.
use super::{Core, Kind, answer, decode, find};
use crate::schema::write_only;
use crate::{Client, Diagnostic, Diagnostics, Value, wire};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// A provider's own check of a configuration.
type Check<'a> = Pin<Box<dyn Future<Output = Diagnostics> + Send + 'a>>;

/// The configuration, and what schema and provider say of it.
async fn judged<T: ?Sized>(
    kind: &Kind<T>,
    sent: Option<&wire::DynamicValue>,
    check: impl for<'a> FnOnce(&'a T, &'a Value) -> Check<'a>,
) -> Result<(Value, Diagnostics), Diagnostic> {
    let config = decode(&kind.of, sent)?;
    let mut found = kind.schema.check(&config);
    found.extend(check(&kind.what, &config).await);
    Ok((config, found))
}

impl Core {
    pub(crate) async fn validate_resource(self: Arc<Self>, request: wire::ValidateResourceRequest) -> wire::DiagnosticsResponse {
        answer(async {
            let kind = self.resource(&request.type_name)?;
            let (config, mut found) = judged(kind, request.config.as_ref(), |what, config| what.validate(config)).await?;
            if !Client::from_wire(request.client_capabilities.as_ref()).write_only_allowed {
                let detail = "This client would keep the value in its state. Write-only attributes need Terraform or OpenTofu 1.11 or later.";
                let refused = |path| Diagnostic::error("This attribute is write-only", detail).at(path);
                found.extend(write_only(kind.schema.attributes(), &config).into_iter().map(refused).collect());
            }
            Ok(found)
        })
        .await
    }

    pub(crate) async fn validate_data_source(self: Arc<Self>, request: wire::ConfigRequest) -> wire::DiagnosticsResponse {
        answer(async {
            let kind = self.data_source(&request.type_name)?;
            Ok(judged(kind, request.config.as_ref(), |what, config| what.validate(config)).await?.1)
        })
        .await
    }

    pub(crate) async fn validate_ephemeral(self: Arc<Self>, request: wire::ConfigRequest) -> wire::DiagnosticsResponse {
        answer(async {
            let kind = find(&self.ephemeral, "ephemeral resource", &request.type_name)?;
            Ok(judged(kind, request.config.as_ref(), |what, config| what.validate(config)).await?.1)
        })
        .await
    }

    pub(crate) async fn validate_list(self: Arc<Self>, request: wire::ConfigRequest) -> wire::DiagnosticsResponse {
        answer(async {
            let kind = find(&self.lists, "list resource", &request.type_name)?;
            Ok(judged(kind, request.config.as_ref(), |what, config| what.validate(config)).await?.1)
        })
        .await
    }

    pub(crate) async fn validate_action(self: Arc<Self>, request: wire::ConfigRequest) -> wire::DiagnosticsResponse {
        answer(async {
            let kind = find(&self.actions, "action", &request.type_name)?;
            Ok(judged(kind, request.config.as_ref(), |what, config| what.validate(config)).await?.1)
        })
        .await
    }

    pub(crate) async fn validate_state_store(self: Arc<Self>, request: wire::ConfigRequest) -> wire::DiagnosticsResponse {
        answer(async {
            let kind = find(&self.states, "state store", &request.type_name)?;
            Ok(judged(kind, request.config.as_ref(), |what, config| what.validate(config)).await?.1)
        })
        .await
    }
}
