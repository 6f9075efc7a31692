//! AWS errors, classified: may pass, refused for good, or somebody else was first.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use kiven_model::{Code, Problem};
use kiven_ports::PortError;

/// Codes that say "not now".
const PASSING: &[&str] = &[
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "LimitExceededException",
    "SlowDown",
    "PriorRequestNotComplete",
    "TransactionInProgressException",
    "TransactionConflictException",
    "InternalError",
    "InternalFailure",
    "InternalServerError",
    "InternalServerException",
    "ServerException",
    "ServiceFailure",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "RequestTimeout",
    "RequestTimeoutException",
    "ConcurrentModification",
    "ConcurrentModificationException",
    "OperationAborted",
    "ExpiredToken",
    "ExpiredTokenException",
];
/// Codes that say "you may not".
const DENIED: &[&str] = &[
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "NotAuthorized",
    "Forbidden",
    "AllAccessDisabled",
    "RegionDisabledException",
];
/// Codes that say "somebody was first".
const CONFLICTING: &[&str] = &[
    "ConditionalCheckFailedException",
    "PreconditionFailed",
    "ConditionalRequestConflict",
    "EntityAlreadyExists",
    "BucketAlreadyOwnedByYou",
    "ResourceInUseException",
    "DeleteConflict",
];
/// Codes that say "no more of these".
const EXHAUSTED: &[&str] = &["LimitExceeded", "ResourceLimitExceededException", "ServiceQuotaExceededException", "TooManyBuckets", "QuotaExceeded"];

/// What an error means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Passing,
    Denied,
    Conflicting,
    Exhausted,
    Refused,
}

pub(crate) fn class_of(code: &str, status: u16) -> Class {
    let among = |codes: &[&str]| codes.contains(&code);
    if among(PASSING) {
        Class::Passing
    } else if among(DENIED) {
        Class::Denied
    } else if among(CONFLICTING) {
        Class::Conflicting
    } else if among(EXHAUSTED) {
        Class::Exhausted
    } else if status >= 500 || status == 429 {
        Class::Passing
    } else if status == 403 && code.is_empty() {
        // The answer to a HEAD has no body and so no code.
        Class::Denied
    } else {
        Class::Refused
    }
}

/// The error's code, empty when AWS did not answer.
pub(crate) fn code_of<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> &str {
    error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default()
}

/// Whether AWS answered one of these codes.
pub(crate) fn is<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>, codes: &[&str]) -> bool {
    codes.contains(&code_of(error))
}

/// Turns any SDK error into the ports' error. `what` names the call.
pub(crate) fn port_error<E>(what: &str, error: SdkError<E, HttpResponse>) -> PortError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let status = error.raw_response().map_or(0, |response| response.status().as_u16());
    let Some(service) = error.as_service_error() else {
        // Timeouts, broken connections and unreadable answers say nothing about the request.
        let why = match &error {
            SdkError::ConstructionFailure(_) => return refused(what, "the request could not be built", ""),
            SdkError::TimeoutError(_) => "no answer in time",
            SdkError::DispatchFailure(_) => "no connection",
            SdkError::ResponseError(_) => "an unreadable answer",
            _ => "no answer",
        };
        tracing::debug!(what, error = &error as &dyn std::error::Error, "AWS did not answer");
        return PortError::retry(what, why);
    };
    let code = service.code().unwrap_or_default();
    let message = service.message().unwrap_or_default();
    // EKS answers for EC2 with a code that says nothing.
    let class = if message.contains("not authorized to") { Class::Denied } else { class_of(code, status) };
    match class {
        Class::Passing => PortError::retry(what, code),
        Class::Conflicting => PortError::Conflict(what.to_owned()),
        Class::Denied => PortError::Refused(explained(what, code, message)),
        Class::Exhausted => PortError::Refused(
            Problem::new(Code::AWS_QUOTA, format!("An AWS quota is exhausted: {what}."))
                .detail(format!("{code}: {message}"))
                .hint("Ask AWS for a higher quota, or free what is no longer used."),
        ),
        Class::Refused => refused(what, code, message),
    }
}

#[cfg(feature = "account")]
fn explained(what: &str, code: &str, message: &str) -> Problem {
    crate::account::denied(what, code, message)
}

#[cfg(not(feature = "account"))]
fn explained(what: &str, code: &str, message: &str) -> Problem {
    Problem::new(Code::AWS_REFUSED, format!("AWS denied {what}.")).detail(format!("{code}: {message}"))
}

fn refused(what: &str, code: &str, message: &str) -> PortError {
    PortError::Refused(Problem::new(Code::AWS_REFUSED, format!("AWS refused {what}.")).detail(format!("{code}: {message}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_codes() {
        let table = [
            ("ThrottlingException", 400, Class::Passing),
            ("SlowDown", 503, Class::Passing),
            ("SomethingNew", 500, Class::Passing),
            ("SomethingNew", 429, Class::Passing),
            ("AccessDenied", 403, Class::Denied),
            ("", 403, Class::Denied),
            ("ConditionalCheckFailedException", 400, Class::Conflicting),
            ("ResourceLimitExceededException", 400, Class::Exhausted),
            ("InvalidParameterException", 400, Class::Refused),
        ];
        for (code, status, expected) in table {
            assert_eq!(class_of(code, status), expected, "{code} {status}");
        }
    }
}
