//! How many calls a process makes of AWS, by operation, and how many AWS throttled: counted where they leave, retries included.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef};
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// Words in the codes by which AWS says "too fast".
const THROTTLE_WORDS: [&str; 5] = ["Throttl", "TooManyRequests", "ProvisionedThroughputExceeded", "RequestLimitExceeded", "SlowDown"];
/// How much of an answer is looked at for its code.
const CODE_BYTES_MAX: usize = 1_024;

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Attempts by `service:Operation`.
    pub by_operation: BTreeMap<String, u64>,
    /// Attempts that AWS refused because they came too fast.
    pub throttled: u64,
}

impl Calls {
    /// All attempts.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_operation.values().sum()
    }
}

/// A counter; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Mutex<Calls>>);

impl Meter {
    /// Answers what was counted since the last time, and begins anew.
    #[must_use]
    pub fn take(&self) -> Calls {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn count(&self, change: impl FnOnce(&mut Calls)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[dyn_dispatch_hint]
impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "meter"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        known: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(metadata) = known.load::<Metadata>() {
            let operation = format!("{}:{}", metadata.service().to_lowercase().replace(' ', ""), metadata.name());
            self.count(|calls| *calls.by_operation.entry(operation).or_default() += 1);
        }
        Ok(())
    }

    fn read_after_attempt(&self, context: &FinalizerInterceptorContextRef<'_>, _: &RuntimeComponents, _: &mut ConfigBag) -> Result<(), BoxError> {
        let Some(response) = context.response() else { return Ok(()) };
        let body = response.body().bytes().unwrap_or_default();
        if is_throttle(response.status().as_u16(), response.headers().get("x-amzn-errortype"), body) {
            self.count(|calls| calls.throttled += 1);
        }
        Ok(())
    }
}

fn is_throttle(status: u16, error_type: Option<&str>, body: &[u8]) -> bool {
    if status < 400 {
        return false;
    }
    let start = String::from_utf8_lossy(body.get(..CODE_BYTES_MAX).unwrap_or(body));
    let said = |word: &str| error_type.is_some_and(|text| text.contains(word)) || start.contains(word);
    status == 429 || THROTTLE_WORDS.iter().any(|word| said(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_says_too_fast_is_a_throttle() {
        assert!(is_throttle(400, None, br#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException"}"#));
        assert!(is_throttle(400, Some("TooManyRequestsException"), b""));
        assert!(is_throttle(503, None, b"<Error><Code>SlowDown</Code></Error>"));
        assert!(is_throttle(429, None, b""));
        assert!(!is_throttle(400, None, br#"{"__type":"ConditionalCheckFailedException"}"#));
        assert!(!is_throttle(200, None, b"Throttling"));
    }

    #[test]
    fn taking_begins_anew() {
        let meter = Meter::default();
        meter.clone().count(|calls| *calls.by_operation.entry("dynamodb:GetItem".to_owned()).or_default() += 2);
        assert_eq!(meter.take().total(), 2);
        assert_eq!(meter.take(), Calls::default());
    }
}
