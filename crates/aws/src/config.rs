//! One constructor for every SDK client: region, credentials, endpoints, timeouts, TLS by ring.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::tls;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::interceptors::SharedInterceptor;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;

use crate::meter::Meter;

/// Longest call, its retries included.
pub const CALL_SECONDS_MAX: u64 = 10;
/// Longest wait for a connection.
const CONNECT_SECONDS_MAX: u64 = 3;
/// Longest single attempt.
const ATTEMPT_SECONDS_MAX: u64 = 5;
/// Most attempts of a call.
const ATTEMPTS_MAX: u32 = 3;

/// Whose calls these are.
#[derive(Clone)]
pub enum Credentials {
    /// As given: the variables of a Lambda sandbox, or the local stack's keys.
    Static {
        /// Access key id.
        access_key_id: String,
        /// Secret access key.
        secret_access_key: String,
        /// Session token of temporary credentials.
        session_token: Option<String>,
    },
    /// From a provider that renews them: a container's role.
    Provider(SharedCredentialsProvider),
}

impl std::fmt::Debug for Credentials {
    /// Never the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Static { access_key_id, .. } => f.debug_tuple("Static").field(access_key_id).finish(),
            Self::Provider(_) => f.write_str("Provider"),
        }
    }
}

/// Endpoint overrides; `None` is AWS itself.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    /// DynamoDB.
    pub dynamodb: Option<String>,
    /// SQS.
    pub sqs: Option<String>,
    /// S3, addressed path-style when overridden.
    pub s3: Option<String>,
    /// STS.
    pub sts: Option<String>,
    /// IAM.
    pub iam: Option<String>,
    /// EKS.
    pub eks: Option<String>,
    /// KMS.
    pub kms: Option<String>,
    /// Lambda.
    pub lambda: Option<String>,
}

impl Endpoints {
    /// Reads `AWS_ENDPOINT_URL_<SERVICE>`, or `AWS_ENDPOINT_URL` for all, through a binary's look-up.
    pub fn parse(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| lookup(name).filter(|url| !url.is_empty());
        let of = |service: &str| set(&format!("AWS_ENDPOINT_URL_{service}")).or_else(|| set("AWS_ENDPOINT_URL"));
        Self {
            dynamodb: of("DYNAMODB"),
            sqs: of("SQS"),
            s3: of("S3"),
            sts: of("STS"),
            iam: of("IAM"),
            eks: of("EKS"),
            kms: of("KMS"),
            lambda: of("LAMBDA"),
        }
    }
}

/// What clients are made from.
#[derive(Clone, Debug)]
pub struct Config {
    /// The region.
    pub region: String,
    /// Whose calls these are.
    pub credentials: Credentials,
    /// Endpoint overrides.
    pub endpoints: Endpoints,
}

/// Clients share one connection pool and one configuration.
#[derive(Clone, Debug)]
pub struct Sdk {
    shared: SdkConfig,
    endpoints: Endpoints,
    http: SharedHttpClient,
    meter: Meter,
}

impl Sdk {
    /// Makes the configuration; connects to nothing yet.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let http = aws_smithy_http_client::Builder::new().tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)).build_https();
        Self::over(http, &config.region, provider(&config.credentials), config.endpoints.clone(), Meter::default())
    }

    fn over(http: SharedHttpClient, region: &str, credentials: SharedCredentialsProvider, endpoints: Endpoints, meter: Meter) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(CONNECT_SECONDS_MAX))
            .operation_attempt_timeout(Duration::from_secs(ATTEMPT_SECONDS_MAX))
            .operation_timeout(Duration::from_secs(CALL_SECONDS_MAX))
            .build();
        let shared = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .credentials_provider(credentials)
            .http_client(http.clone())
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX))
            .build();
        Self { shared, endpoints, http, meter }
    }

    /// The same connections with other credentials in another region.
    #[must_use]
    pub fn with(&self, credentials: Credentials, region: &str) -> Self {
        Self::over(self.http.clone(), region, provider(&credentials), self.endpoints.clone(), self.meter.clone())
    }

    /// Counts the calls of every client that was made from this one.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.meter
    }
}

fn provider(credentials: &Credentials) -> SharedCredentialsProvider {
    match credentials {
        Credentials::Static { access_key_id, secret_access_key, session_token } => SharedCredentialsProvider::new(
            aws_credential_types::Credentials::new(access_key_id, secret_access_key, session_token.clone(), None, "kiven"),
        ),
        Credentials::Provider(provider) => provider.clone(),
    }
}

macro_rules! client {
    ($(#[$doc:meta])* $feature:meta, $name:ident, $sdk:ident) => {
        #[$feature]
        impl Sdk {
            $(#[$doc])*
            #[must_use]
            pub fn $name(&self) -> $sdk::Client {
                let mut builder = $sdk::config::Builder::from(&self.shared);
                builder.set_endpoint_url(self.endpoints.$name.clone());
                builder.push_interceptor(SharedInterceptor::new(self.meter.clone()));
                $sdk::Client::from_conf(builder.build())
            }
        }
    };
}

client!(/// A DynamoDB client.
    cfg(feature = "store"), dynamodb, aws_sdk_dynamodb);
client!(/// An SQS client.
    cfg(feature = "store"), sqs, aws_sdk_sqs);
client!(/// An STS client.
    cfg(feature = "account"), sts, aws_sdk_sts);
client!(/// An IAM client.
    cfg(feature = "account"), iam, aws_sdk_iam);
client!(/// An EKS client.
    cfg(feature = "account"), eks, aws_sdk_eks);
client!(/// A KMS client.
    cfg(feature = "authority"), kms, aws_sdk_kms);

#[cfg(any(all(feature = "account", feature = "renewal"), feature = "invoke"))]
impl Sdk {
    pub(crate) fn region(&self) -> &str {
        self.shared.region().map_or("", Region::as_ref)
    }
}

#[cfg(feature = "invoke")]
impl Sdk {
    pub(crate) fn credentials(&self) -> Option<SharedCredentialsProvider> {
        self.shared.credentials_provider()
    }

    pub(crate) fn lambda_url(&self) -> String {
        self.endpoints.lambda.clone().unwrap_or_else(|| format!("https://lambda.{}.amazonaws.com", self.region()))
    }
}

#[cfg(any(feature = "store", feature = "account"))]
impl Sdk {
    /// An S3 client; path-style with an endpoint of our own.
    #[must_use]
    pub fn s3(&self) -> aws_sdk_s3::Client {
        let mut builder = aws_sdk_s3::config::Builder::from(&self.shared);
        builder.set_endpoint_url(self.endpoints.s3.clone());
        builder.set_force_path_style(Some(self.endpoints.s3.is_some()));
        builder.push_interceptor(SharedInterceptor::new(self.meter.clone()));
        aws_sdk_s3::Client::from_conf(builder.build())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_come_from_the_lookup_and_secrets_never_show() {
        let endpoints = Endpoints::parse(|name| (name == "AWS_ENDPOINT_URL_SQS").then(|| "http://q".to_owned()));
        assert_eq!((endpoints.sqs.as_deref(), endpoints.s3), (Some("http://q"), None));
        let endpoints = Endpoints::parse(|name| match name {
            "AWS_ENDPOINT_URL" => Some("http://all".to_owned()),
            "AWS_ENDPOINT_URL_KMS" => Some("http://k".to_owned()),
            _ => None,
        });
        assert_eq!((endpoints.kms.as_deref(), endpoints.s3.as_deref()), (Some("http://k"), Some("http://all")));
        let secret = Credentials::Static { access_key_id: "id".into(), secret_access_key: "hidden".into(), session_token: Some("hidden".into()) };
        assert!(!format!("{secret:?}").contains("hidden"));
    }
}
