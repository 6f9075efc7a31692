//! Who calls, and what they may do.
use crate::App;
use crate::answer::Failure;
use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use kiven_model::organization::{Organization, Role, api_key_id};
use kiven_model::{Code, OrganizationId, Problem};
use kiven_ports::{Clock, Ports, Records};
use sha2::{Digest, Sha256};

/// What is stored of a key: SHA-256, hexadecimal.
#[must_use]
pub fn key_digest(key: &str) -> String {
    hex::encode(Sha256::digest(key.as_bytes()))
}

/// An authenticated caller.
pub(crate) struct Caller {
    pub(crate) organization_id: OrganizationId,
    pub(crate) role: Role,
    /// Opaque, for consents and audit.
    pub(crate) actor: String,
}

impl Caller {
    /// Refuses a role that is too small.
    pub(crate) fn at_least(&self, role: Role) -> Result<(), Failure> {
        if self.role >= role {
            return Ok(());
        }
        let message = format!("this key's role is {:?}; {role:?} is needed", self.role).to_lowercase();
        Err(Problem::new(Code::FORBIDDEN, message).hint("Use a key of a greater role.").into())
    }

    /// The caller's organization.
    pub(crate) async fn organization<P: Ports>(&self, app: &App<P>) -> Result<Organization, Failure> {
        let found = app.ports.records().organization_get(&self.organization_id).await?;
        found.ok_or_else(|| crate::answer::missing("organization", self.organization_id.as_str()))
    }
}

fn refused() -> Failure {
    let hint = "Send `Authorization: Bearer kiven_…` with a key of your organization that has not expired.";
    Failure(Problem::new(Code::UNAUTHENTICATED, "the API key is missing, unknown or expired").hint(hint))
}

impl<P: Ports> FromRequestParts<App<P>> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App<P>) -> Result<Self, Failure> {
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let key = header.and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(refused)?;
        let id = api_key_id(key).ok_or_else(refused)?;
        let known = app.ports.records().api_key_get(&id).await?.ok_or_else(refused)?;
        let expired = known.expires_at.is_some_and(|at| at <= app.ports.clock().now());
        // Digests of random keys are compared: their timing tells nothing about a key.
        if known.key_sha256 != key_digest(key) || expired {
            return Err(refused());
        }
        Ok(Self { organization_id: known.organization_id, role: known.role, actor: id.to_string() })
    }
}
