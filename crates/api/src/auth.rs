//! Who calls, and what they may do.
use crate::App;
use crate::answer::Failure;
use crate::route::Access;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use kiven_model::organization::{Organization, Role, api_key_id};
use kiven_model::{Code, OrganizationId, Problem};
use kiven_ports::{Clock, Ports, Records};
use sha2::{Digest, Sha256};

/// What is stored of a key: SHA-256, hexadecimal.
#[must_use]
pub fn key_digest(key: &str) -> String {
    hex::encode(Sha256::digest(key.as_bytes()))
}

/// An authenticated caller who may use the route that was matched.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) organization_id: OrganizationId,
    pub(crate) role: Role,
    /// Opaque, for consents and audit.
    pub(crate) actor: String,
    /// What the route demands for the part of it that is not for everybody who may use it.
    more: Option<Role>,
}

impl Caller {
    /// Refuses who may use the route, but not this part of it: the table of routes says which role that takes; where it
    /// names none, only an owner may.
    pub(crate) fn may_more(&self) -> Result<(), Failure> {
        at_least(self.role, self.more.unwrap_or(Role::Owner))
    }

    /// The caller's organization.
    pub(crate) async fn organization<P: Ports>(&self, app: &App<P>) -> Result<Organization, Failure> {
        let found = app.ports.records().organization_get(&self.organization_id).await?;
        found.ok_or_else(|| crate::answer::missing("organization", self.organization_id.as_str()))
    }
}

fn at_least(is: Role, needed: Role) -> Result<(), Failure> {
    if is >= needed {
        return Ok(());
    }
    let message = format!("this key's role is {}; {} is needed", is.as_str(), needed.as_str());
    Err(Problem::new(Code::FORBIDDEN, message).hint("Use a key of a greater role.").into())
}

fn refused() -> Failure {
    let hint = "Send `Authorization: Bearer kiven_…` with a key of your organization that has not expired.";
    Failure(Problem::new(Code::UNAUTHENTICATED, "the API key is missing, unknown or expired").hint(hint))
}

async fn authenticate<P: Ports>(app: &App<P>, parts: &Parts, more: Option<Role>) -> Result<Caller, Failure> {
    let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let key = header.and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(refused)?;
    let id = api_key_id(key).ok_or_else(refused)?;
    let known = app.ports.records().api_key_get(&id).await?.ok_or_else(refused)?;
    let expired = known.expires_at.is_some_and(|at| at <= app.ports.clock().now());
    // Digests of random keys are compared: their timing tells nothing about a key.
    if known.key_sha256 != key_digest(key) || expired {
        return Err(refused());
    }
    Ok(Caller { organization_id: known.organization_id, role: known.role, actor: id.to_string(), more })
}

/// The gate that stands before every handler of the table: who calls, and whether the route's role is theirs.
pub(crate) async fn admit<P: Ports>(State((app, access)): State<(App<P>, Access)>, request: Request, next: Next) -> Response {
    let (least, more) = match access {
        Access::Anyone => return next.run(request).await,
        Access::Least { role, more } => (role, more.map(|(role, _)| role)),
    };
    let (mut parts, body) = request.into_parts();
    let caller = match authenticate(&app, &parts, more).await {
        Ok(caller) => caller,
        Err(failure) => return failure.into_response(),
    };
    if let Err(failure) = at_least(caller.role, least) {
        return failure.into_response();
    }
    parts.extensions.insert(caller);
    next.run(Request::from_parts(parts, body)).await
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;

    /// Only the gate makes callers: a handler that asks for one on a public route is refused.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        parts.extensions.get::<Caller>().cloned().ok_or_else(refused)
    }
}
