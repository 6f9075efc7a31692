//! The provider: its configuration and the list of what it offers.
use crate::data_sources::plans::Plans;
use crate::resources::database::Database;
use crate::resources::environment::Environment;
use crate::resources::environment_connection::EnvironmentConnection;
use crate::resources::power_schedule::PowerSchedule;
use crate::session::Shared;
use kiven_client::{Client, Credentials};
use kiven_tfplugin::{Attr, DataSource, Diagnostic, Diagnostics, Named, Path, Provider, Resource, Schema, Value, async_trait};
use std::sync::Arc;

/// Looks up an environment variable.
pub(crate) type Lookup = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The provider.
pub(crate) struct Kiven {
    session: Shared,
    lookup: Lookup,
}

impl Kiven {
    pub(crate) fn new(lookup: Lookup) -> Self {
        Self { session: Shared::default(), lookup }
    }
}

#[async_trait]
impl Provider for Kiven {
    fn schema(&self) -> Schema {
        let endpoint = "The API's base URL. By default `KIVEN_ENDPOINT`, else that of the credentials file (`~/.config/kiven/credentials.json`).";
        let key = "The API key. By default `KIVEN_API_KEY`, else that of the credentials file. It is never part of a state.";
        Schema::new(0)
            .describe("Managed PostgreSQL on your own EKS clusters.")
            .attr(Attr::string("endpoint").optional().describe(endpoint))
            .attr(Attr::string("api_key").optional().sensitive().describe(key))
    }

    fn resources(&self) -> Named<dyn Resource> {
        vec![
            ("kiven_environment", Arc::new(Environment(self.session.clone()))),
            ("kiven_environment_connection", Arc::new(EnvironmentConnection(self.session.clone()))),
            ("kiven_database", Arc::new(Database::new(self.session.clone()))),
            ("kiven_power_schedule", Arc::new(PowerSchedule(self.session.clone()))),
        ]
    }

    fn data_sources(&self) -> Named<dyn DataSource> {
        vec![("kiven_plans", Arc::new(Plans(self.session.clone())))]
    }

    async fn configure(&self, config: Value, terraform_version: &str) -> Diagnostics {
        let (endpoint, key) = (config.get("endpoint"), config.get("api_key"));
        if endpoint.is_unknown() || key.is_unknown() {
            // Known after apply: plans do without the API until then.
            return Diagnostics::none();
        }
        let given = |value: &Value| value.as_str().map(str::to_owned);
        let credentials = match Credentials::find(given(endpoint), given(key), |name| (self.lookup)(name)) {
            Ok(credentials) => credentials,
            Err(error) => {
                let path = Path::attribute(if endpoint.is_null() { "api_key" } else { "endpoint" });
                return Diagnostic::error("No way to the Kiven API", crate::diagnose::chain(&error)).at(path).into();
            }
        };
        let agent = format!("terraform-provider-kiven/{} terraform/{terraform_version}", env!("CARGO_PKG_VERSION"));
        let client = match Client::new(credentials, &agent) {
            Ok(client) => client,
            Err(error) => return Diagnostic::error("No way to the Kiven API", crate::diagnose::chain(&error)).into(),
        };
        // A key that is no good is told once and now, not by every resource.
        if let Err(error) = client.me().await {
            let told = crate::diagnose::failure(&self.schema(), "Reaching the Kiven API", &error);
            return told.iter().cloned().map(|one| one.at(Path::attribute("api_key"))).collect();
        }
        self.session.set(client);
        Diagnostics::none()
    }
}
