//! One call of a Lambda function, signed here: the SDK of Lambda would be the relay's largest part for this alone.

use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use kiven_model::{Code, Problem};
use kiven_ports::PortError;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Sdk;

const CALL: &str = "lambda:Invoke";

/// Invokes a function and reads its answer.
///
/// # Errors
/// When Lambda does not answer, refuses, or the function fails.
pub async fn function_invoke<E: Serialize, A: DeserializeOwned>(sdk: &Sdk, function: &str, event: &E) -> Result<A, PortError> {
    let broken = |why: String| PortError::retry(CALL, why);
    let body = serde_json::to_vec(event).map_err(|error| broken(error.to_string()))?;
    let url = format!("{}/2015-03-31/functions/{function}/invocations", sdk.lambda_url());
    let headers = signed(sdk, &url, &body).await?;
    let http = crate::http::client().map_err(|error| broken(error.to_string()))?;
    let mut request = http.post(&url).body(body);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let answer = request.send().await.map_err(|error| broken(format!("no connection: {}", error.without_url())))?;
    let (status, failed) = (answer.status(), answer.headers().contains_key("x-amz-function-error"));
    let body = answer.bytes().await.map_err(|error| broken(format!("an unreadable answer: {}", error.without_url())))?;
    if status.as_u16() == 403 {
        return Err(PortError::Refused(Problem::new(Code::ACCESS_DENIED, format!("{CALL} of {function} is denied"))));
    }
    if !status.is_success() || failed {
        return Err(broken(format!("{function} did not answer well ({status})")));
    }
    serde_json::from_slice(&body).map_err(|error| broken(format!("{function}'s answer cannot be read: {error}")))
}

/// The headers that sign a POST.
async fn signed(sdk: &Sdk, url: &str, body: &[u8]) -> Result<Vec<(String, String)>, PortError> {
    let broken = |why: String| PortError::retry(CALL, why);
    let provider = sdk.credentials().ok_or_else(|| broken("no credentials".to_owned()))?;
    let identity = provider.provide_credentials().await.map_err(|error| broken(error.to_string()))?.into();
    #[expect(clippy::disallowed_methods, reason = "signatures are good by the wall clock")]
    let now = std::time::SystemTime::now();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(sdk.region())
        .name("lambda")
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| broken(error.to_string()))?
        .into();
    let request = SignableRequest::new("POST", url, std::iter::empty(), SignableBody::Bytes(body)).map_err(|error| broken(error.to_string()))?;
    let (instructions, _) = sign(request, &params).map_err(|error| broken(error.to_string()))?.into_parts();
    Ok(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}
