//! Who calls a local endpoint, and what that caller may do in the customer's account.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};

use super::policy::{self, Ask, Context, Verdict};
use super::query::Fault;
use super::state::State;

/// The endpoints' clock, in milliseconds since 1970; virtual time when the stack has one.
pub type NowMs = Arc<dyn Fn() -> i64 + Send + Sync>;

/// A long-lived access key of the local world.
#[derive(Clone, Debug)]
pub struct AccessKey {
    /// What the caller puts into its credentials.
    pub id: String,
    /// Whom it stands for, e.g. `arn:aws:iam::111122223333:root`.
    pub principal_arn: String,
}

/// An IAM role as stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) id: String,
    pub(crate) trust: String,
    pub(crate) description: String,
    pub(crate) session_seconds_max: u32,
    pub(crate) boundary: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) policies: BTreeMap<String, String>,
    pub(crate) created_ms: i64,
}

impl Role {
    pub(crate) fn arn(&self, account: &str) -> String {
        format!("arn:aws:iam::{account}:role{}{}", self.path, self.name)
    }
}

/// Temporary credentials that STS gave out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) role: String,
    pub(crate) role_id: String,
    pub(crate) name: String,
    pub(crate) policy: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) expires_ms: i64,
}

/// Who calls.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// A long-lived key.
    Key { arn: String },
    /// An assumed role.
    Session(Box<Session>),
    /// A key nobody gave out.
    Unknown,
}

/// The account's keys, sessions and roles.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) state: State,
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) keys: Arc<BTreeMap<String, String>>,
    pub(crate) now_ms: NowMs,
}

impl Access {
    /// The caller named by a request's signature. Signatures are not verified: the endpoints are
    /// loopback only and the key id is what tells one local party from another.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Caller, Fault> {
        let Some(key) = access_key(headers) else { return Ok(Caller::Unknown) };
        if let Some(arn) = self.keys.get(key) {
            return Ok(Caller::Key { arn: arn.clone() });
        }
        match self.state.get::<Session>(&session_key(key))? {
            Some(session) if session.expires_ms <= (self.now_ms)() => {
                Err(Fault::new("ExpiredToken", "The security token included in the request is expired"))
            }
            Some(session) => Ok(Caller::Session(Box::new(session))),
            None => Ok(Caller::Unknown),
        }
    }

    pub(crate) fn role(&self, name: &str) -> Result<Option<Role>, Fault> {
        Ok(self.state.get(&role_key(name))?)
    }

    /// Answers AccessDenied unless the caller may act on the resource in the customer's account.
    pub(crate) fn check(&self, caller: &Caller, action: &str, resource: &str, extra: &Context) -> Result<(), Fault> {
        let allowed = match caller {
            Caller::Key { arn } => *arn == format!("arn:aws:iam::{}:root", self.account),
            Caller::Unknown => {
                return Err(Fault::new("InvalidClientTokenId", "The security token included in the request is invalid"));
            }
            Caller::Session(session) => self.session_may(session, action, resource, extra)?,
        };
        if allowed { Ok(()) } else { Err(denied(&self.arn_of(caller), action, resource)) }
    }

    fn session_may(&self, session: &Session, action: &str, resource: &str, extra: &Context) -> Result<bool, Fault> {
        let Some(role) = self.role(&session.role)? else { return Ok(false) };
        let mut context = extra.clone();
        for (key, value) in role.tags.iter().chain(&session.tags) {
            context.insert(format!("aws:principaltag/{}", key.to_ascii_lowercase()), vec![value.clone()]);
        }
        context.insert("aws:requestedregion".into(), vec![self.region.clone()]);
        context.insert("aws:principalaccount".into(), vec![self.account.clone()]);
        context.insert("aws:principalarn".into(), vec![role.arn(&self.account)]);
        let ask = Ask { principals: &[], account: &self.account, action, resource, context: &context };
        let mut allowed = false;
        for document in role.policies.values().filter_map(|text| policy::parse(text)) {
            match policy::judge(&document, &ask) {
                Verdict::Deny => return Ok(false),
                Verdict::Allow => allowed = true,
                Verdict::Silent => {}
            }
        }
        let narrowed = match session.policy.as_deref().map(policy::parse) {
            None => true,
            Some(Some(document)) => policy::judge(&document, &ask) == Verdict::Allow,
            Some(None) => false,
        };
        Ok(allowed && narrowed)
    }

    /// The caller's ARN as `GetCallerIdentity` writes it.
    pub(crate) fn arn_of(&self, caller: &Caller) -> String {
        match caller {
            Caller::Key { arn } => arn.clone(),
            Caller::Session(session) => {
                format!("arn:aws:sts::{}:assumed-role/{}/{}", self.account, session.role, session.name)
            }
            Caller::Unknown => "arn:aws:iam::000000000000:user/unknown".into(),
        }
    }
}

/// The error AWS answers when nothing allows an action.
pub(crate) fn denied(who: &str, action: &str, resource: &str) -> Fault {
    Fault::new("AccessDenied", format!("User: {who} is not authorized to perform: {action} on resource: {resource}"))
}

pub(crate) fn role_key(name: &str) -> String {
    format!("role/{name}")
}

pub(crate) fn session_key(access_key_id: &str) -> String {
    format!("session/{access_key_id}")
}

fn access_key(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get("authorization")?.to_str().ok()?;
    value.split_once("Credential=")?.1.split('/').next()
}
