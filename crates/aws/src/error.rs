//! AWS errors, classified: may pass, refused for good, or somebody else was first.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use kiven_model::{Code, Problem};
use kiven_ports::PortError;
use std::time::Duration;

/// Codes that say "not now": too fast, too busy, another change runs.
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
];
/// Codes that say "these credentials are over": a new session may help, the same one never.
const EXPIRED: &[&str] = &["ExpiredToken", "ExpiredTokenException", "RequestExpired"];
/// Codes that say "not yet": AWS has taken note, and not everywhere.
const INCONSISTENT: &[&str] =
    &["EntityTemporarilyUnmodifiable", "EntityTemporarilyUnmodifiableException", "ResourceNotReadyException", "ResourcePropagationDelayException"];
/// Codes that say "there is no such thing". Where that is an answer, its caller reads it before.
const NOT_FOUND: &[&str] = &[
    "NoSuchEntity",
    "NoSuchBucket",
    "NoSuchKey",
    "NotFound",
    "NotFoundException",
    "ResourceNotFoundException",
    "QueueDoesNotExist",
    "AWS.SimpleQueueService.NonExistentQueue",
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

/// How a session that is over is told.
const EXPIRED_WORDS: &str = "the session is over";
/// How long what was made a moment ago may take to be seen everywhere, each time that it is asked for.
const SEEN_PAUSE: Duration = Duration::from_secs(2);

/// What an error means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Throttled, or AWS' own trouble: the same call later.
    Passing,
    /// Made, and not seen everywhere: the same call later.
    Inconsistent,
    /// The session is over: the same call in another one.
    Expired,
    Denied,
    Conflicting,
    /// A quota.
    Exhausted,
    NotFound,
    Refused,
}

pub(crate) fn class_of(code: &str, status: u16) -> Class {
    let among = |codes: &[&str]| codes.contains(&code);
    if among(PASSING) {
        Class::Passing
    } else if among(INCONSISTENT) {
        Class::Inconsistent
    } else if among(EXPIRED) {
        Class::Expired
    } else if among(NOT_FOUND) {
        Class::NotFound
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
    let class = match () {
        // EKS answers for EC2 with a code that says nothing.
        () if message.contains("not authorized to") => Class::Denied,
        // A role that a policy names, made a moment ago.
        () if message.to_lowercase().contains("invalid principal in policy") => Class::Inconsistent,
        () => class_of(code, status),
    };
    match class {
        Class::Passing => PortError::retry(what, code),
        Class::Inconsistent => PortError::Retry { what: what.to_owned(), why: format!("{code}: {message}"), after: SEEN_PAUSE },
        Class::Expired => PortError::retry(what, EXPIRED_WORDS),
        Class::Conflicting => PortError::Conflict(what.to_owned()),
        Class::Denied => PortError::Refused(explained(what, code, message)),
        Class::Exhausted => PortError::Refused(
            Problem::new(Code::AWS_QUOTA, format!("An AWS quota is exhausted: {what}."))
                .detail(format!("{code}: {message}"))
                .hint("Ask AWS for a higher quota, or free what is no longer used."),
        ),
        Class::NotFound => PortError::Refused(
            Problem::new(Code::AWS_REFUSED, format!("AWS knows nothing of what {what} is about."))
                .detail(format!("{code}: {message}"))
                .hint("Somebody may have deleted it."),
        ),
        Class::Refused => refused(what, code, message),
    }
}

/// The error of a call on what this very process has just made or seen: that AWS does not know it yet is its eventual consistency.
#[cfg(feature = "account")]
pub(crate) fn young_error<E>(what: &str, error: SdkError<E, HttpResponse>) -> PortError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    if NOT_FOUND.contains(&code_of(&error)) {
        return PortError::Retry { what: what.to_owned(), why: "it is not seen everywhere yet".to_owned(), after: SEEN_PAUSE };
    }
    port_error(what, error)
}

/// Whether a call was denied, or its session is over: what a role answers that is gone.
#[cfg(feature = "account")]
pub(crate) fn is_denied(error: &PortError) -> bool {
    match error {
        PortError::Refused(problem) => problem.code == Code::PERMISSION_MISSING,
        PortError::Retry { why, .. } => why == EXPIRED_WORDS,
        PortError::Conflict(_) => false,
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
            ("EntityTemporarilyUnmodifiable", 409, Class::Inconsistent),
            ("ExpiredTokenException", 403, Class::Expired),
            ("InvalidClientTokenId", 403, Class::Denied),
            ("NoSuchEntity", 404, Class::NotFound),
            ("ResourceNotFoundException", 404, Class::NotFound),
        ];
        for (code, status, expected) in table {
            assert_eq!(class_of(code, status), expected, "{code} {status}");
        }
    }
}
