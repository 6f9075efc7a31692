//! From problems and ports' failures to HTTP answers: the one error boundary.
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use kiven_model::api::BODY_BYTES_MAX;
use kiven_model::{Code, Problem};
use kiven_ports::PortError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What handlers answer with.
pub(crate) type Answer<T> = Result<T, Failure>;

/// A problem on its way out.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Problem);

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Self {
        match error {
            PortError::Refused(problem) => Self(problem),
            error @ (PortError::Retry { .. } | PortError::Conflict(_)) => {
                tracing::warn!(%error, "a port failed");
                Self(Problem::new(Code::UNAVAILABLE, "Kiven cannot answer right now").hint("Nothing was changed. Try again in a few seconds."))
            }
        }
    }
}

/// The HTTP status of a code.
pub(crate) fn status(code: Code) -> StatusCode {
    match code {
        Code::UNAUTHENTICATED => StatusCode::UNAUTHORIZED,
        Code::FORBIDDEN | Code::ENROLMENT_REFUSED => StatusCode::FORBIDDEN,
        Code::NOT_FOUND => StatusCode::NOT_FOUND,
        Code::NAME_TAKEN
        | Code::OPERATION_RUNNING
        | Code::DELETION_PROTECTED
        | Code::WRONG_STATE
        | Code::ENVIRONMENT_NOT_READY
        | Code::ENVIRONMENT_IN_USE
        | Code::NOT_RELEASABLE
        | Code::CLUSTER_TAKEN
        | Code::IN_ANOTHER_SCHEDULE
        | Code::READER_UNTRUSTED
        | Code::TOO_MANY_READERS
        | Code::AGENT_REFUSED
        | Code::COMMAND_EXPIRED
        | Code::NOT_CANCELLABLE => StatusCode::CONFLICT,
        Code::METHOD_UNKNOWN => StatusCode::METHOD_NOT_ALLOWED,
        Code::BODY_TOO_LARGE => StatusCode::PAYLOAD_TOO_LARGE,
        Code::TOO_MANY_REQUESTS => StatusCode::TOO_MANY_REQUESTS,
        Code::UNAVAILABLE => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = status(self.0.code);
        let mut response = (status, Json(self.0)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Reads a JSON body; what cannot be read says where.
pub(crate) fn body<T: DeserializeOwned + Serialize>(bytes: Result<Bytes, BytesRejection>) -> Answer<T> {
    let bytes = bytes.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(Code::BODY_TOO_LARGE, format!("the body is larger than {BODY_BYTES_MAX} bytes"))
            .hint("No request of this API needs that much."),
        _ => Problem::new(Code::BODY_BROKEN, "the body did not arrive whole"),
    })?;
    let read: T = serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
    let (sent, meant) = (serde_json::from_slice(&bytes), serde_json::to_value(&read));
    match (sent, meant) {
        (Ok(sent), Ok(meant)) => {
            list_for_object(&sent, &meant).map_or(Ok(read), |place| Err(broken(format!("a list where an object belongs: `{place}`"))))
        }
        (Err(error), _) | (_, Err(error)) => Err(broken(error.to_string())),
    }
}

fn broken(detail: String) -> Failure {
    let problem = Problem::new(Code::BODY_BROKEN, "the body is not the JSON that this route takes");
    Failure(problem.detail(detail).hint("See the API's document: GET /v1/openapi.json."))
}

/// Where a list was sent for an object. The JSON library reads one as the object's fields in their order, so an empty list
/// would silently be an object with nothing said.
fn list_for_object(sent: &Value, meant: &Value) -> Option<String> {
    match (sent, meant) {
        (Value::Array(_), Value::Object(_)) => Some("the body".to_owned()),
        (Value::Array(sent), Value::Array(meant)) => sent.iter().zip(meant).find_map(|(sent, meant)| list_for_object(sent, meant)),
        (Value::Object(sent), Value::Object(meant)) => {
            sent.iter().find_map(|(name, sent)| list_for_object(sent, meant.get(name)?).map(|_| name.clone()))
        }
        _ => None,
    }
}

/// Nothing lives at this path.
pub(crate) async fn no_route() -> Failure {
    Failure(Problem::new(Code::NOT_FOUND, "there is no such route").hint("Every route begins with /v1; see the API's reference."))
}

/// The route is there, the method is not.
pub(crate) async fn no_method() -> Failure {
    Failure(Problem::new(Code::METHOD_UNKNOWN, "this route has no such method").hint("The header `allow` names those it has."))
}

/// The one answer for what is missing and for what is another organization's.
pub(crate) fn missing(what: &str, id: &str) -> Failure {
    let id: String = id.chars().take(64).collect();
    let problem = Problem::new(Code::NOT_FOUND, format!("there is no {what} `{id}` in this organization"));
    Failure(problem.hint("Compare the id with the list of this organization's, and see that the key is this organization's."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiven_model::api::DatabaseRequest;

    #[test]
    fn a_list_is_no_object() {
        let read = |text: &'static str| body::<DatabaseRequest>(Ok(Bytes::from_static(text.as_bytes())));
        assert!(read(r#"{"name": "shop", "extensions": [], "pooler": {}, "custom": null}"#).is_ok());
        for wrong in ["[]", r#"["shop"]"#, r#"{"pooler": []}"#, r#"{"custom": [1, 2]}"#, r#"{"name": "a", "name": "b"}"#, ""] {
            let Failure(problem) = read(wrong).unwrap_err();
            assert_eq!(problem.code, Code::BODY_BROKEN, "{wrong}");
        }
    }
}
