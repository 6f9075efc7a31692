//! What a relay asks the authority for.
use serde::{Deserialize, Serialize};

/// What a relay sends to the function `enrol`, which AWS's own permissions allow to the relay's role alone. The answer is an
/// [`crate::api::EnrolResponse`] for the name by which agents reach relays, whatever the request says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayEnrolRequest {
    /// A request for a certificate, PEM; only its public key counts.
    pub relay_certificate_request: String,
}
