//! The provider's own configuration.
use super::{Core, decode, guard};
use crate::{Diagnostics, wire};
use std::sync::Arc;

impl Core {
    pub(crate) async fn validate_provider(self: Arc<Self>, request: wire::ValidateProviderRequest) -> wire::ValidateProviderResponse {
        let call = async {
            match decode(&self.config_type, request.config.as_ref()) {
                Ok(config) => {
                    let mut found = self.config.check(&config);
                    found.extend(self.provider.validate(&config).await);
                    found
                }
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
}
