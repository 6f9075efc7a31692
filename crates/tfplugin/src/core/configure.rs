//! The provider's own configuration.
use super::{Core, answer, decode};
use crate::wire;
use std::sync::Arc;

impl Core {
    pub(crate) async fn validate_provider(self: Arc<Self>, request: wire::ValidateProviderRequest) -> wire::ValidateProviderResponse {
        let checked = answer(async {
            let config = decode(&self.config_type, request.config.as_ref())?;
            let mut found = self.config.check(&config);
            found.extend(self.provider.validate(&config).await);
            Ok(found)
        });
        wire::ValidateProviderResponse { diagnostics: checked.await.diagnostics }
    }

    pub(crate) async fn configure(self: Arc<Self>, request: wire::ConfigureRequest) -> wire::DiagnosticsResponse {
        answer(async {
            let config = decode(&self.config_type, request.config.as_ref())?;
            Ok(self.provider.configure(config, &request.terraform_version).await)
        })
        .await
    }
}
