//! STS: AssumeRole that really reads the role's trust policy, and GetCallerIdentity.

use axum::extract::State as Extract;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::post;
use axum::{Router, body::Bytes};

use super::access::{Access, Caller, Role, Session, denied, session_key};
use super::policy::{self, Ask, Context, Verdict};
use super::query::{Fault, Form, answer, element, instant};

/// Shortest session AWS gives.
const SESSION_SECONDS_MIN: u32 = 900;
/// Longest session any role may allow.
const SESSION_SECONDS_MAX: u32 = 43_200;
/// A session of an assumed role may assume another for at most an hour.
const CHAINED_SECONDS_MAX: u32 = 3_600;
/// Longest session policy.
const POLICY_CHARS_MAX: usize = 2_048;
/// Most session tags.
const TAGS_MAX: usize = 50;

pub(crate) fn router(access: Access) -> Router {
    Router::new().route("/", post(handle)).with_state(access)
}

async fn handle(Extract(access): Extract<Access>, headers: HeaderMap, body: Bytes) -> Response {
    let form = Form::parse(&String::from_utf8_lossy(&body));
    let action = form.get("Action").unwrap_or_default().to_owned();
    let result = match action.as_str() {
        "AssumeRole" => assume_role(&access, &headers, &form),
        "GetCallerIdentity" => caller_identity(&access, &headers),
        _ => Err(Fault::new("InvalidAction", format!("{action} is not offered locally"))),
    };
    match result {
        Ok(result) => answer(&action, &result),
        Err(fault) => fault.xml(),
    }
}

fn caller_identity(access: &Access, headers: &HeaderMap) -> Result<String, Fault> {
    let caller = known(access, headers)?;
    let arn = access.arn_of(&caller);
    let account = arn.split(':').nth(4).unwrap_or_default();
    let id = match &caller {
        Caller::Session(session) => format!("{}:{}", session.role_id, session.name),
        Caller::Key { .. } | Caller::Unknown => account.to_owned(),
    };
    Ok(format!("{}{}{}", element("Arn", &arn), element("UserId", &id), element("Account", account)))
}

fn known(access: &Access, headers: &HeaderMap) -> Result<Caller, Fault> {
    match access.caller(headers)? {
        Caller::Unknown => Err(Fault::new("InvalidClientTokenId", "The security token included in the request is invalid.")),
        caller @ (Caller::Key { .. } | Caller::Session(_)) => Ok(caller),
    }
}

fn assume_role(access: &Access, headers: &HeaderMap, form: &Form) -> Result<String, Fault> {
    let caller = known(access, headers)?;
    let who = access.arn_of(&caller);
    let role_arn = form.required("RoleArn")?;
    let name = form.required("RoleSessionName")?;
    check_session_name(name)?;
    let policy = form.get("Policy").map(str::to_owned);
    check_policy(policy.as_deref())?;
    let tags = form.tags();
    if tags.len() > TAGS_MAX {
        return Err(Fault::new("ValidationError", format!("at most {TAGS_MAX} session tags")));
    }
    let role_name = role_arn.rsplit('/').next().unwrap_or_default();
    // A role that is not there is answered like one that does not trust the caller.
    let role = access.role(role_name)?.filter(|role| role.arn(&access.account) == role_arn);
    let Some(role) = role else { return Err(denied(&who, "sts:AssumeRole", role_arn)) };
    let seconds = session_seconds(form, &role, &caller)?;

    let mut context = Context::new();
    context.insert("aws:principalarn".into(), vec![who.clone()]);
    if let Some(account) = who.split(':').nth(4) {
        context.insert("aws:principalaccount".into(), vec![account.to_owned()]);
    }
    context.insert("sts:rolesessionname".into(), vec![name.to_owned()]);
    if let Some(id) = form.get("ExternalId") {
        context.insert("sts:externalid".into(), vec![id.to_owned()]);
    }
    for (key, value) in &tags {
        context.insert(format!("aws:requesttag/{}", key.to_ascii_lowercase()), vec![value.clone()]);
    }
    if !tags.is_empty() {
        context.insert("aws:tagkeys".into(), tags.keys().cloned().collect());
    }
    trusts(&role, &who, "sts:AssumeRole", role_arn, &context)?;
    if !tags.is_empty() {
        trusts(&role, &who, "sts:TagSession", role_arn, &context)?;
    }

    let expires_ms = (access.now_ms)() + i64::from(seconds) * 1_000;
    let session = Session { role: role.name.clone(), role_id: role.id.clone(), name: name.to_owned(), policy, tags, expires_ms };
    let key = format!("ASIA{}", super::random_hex(8)?.to_ascii_uppercase());
    access.state.put(&session_key(&key), &session)?;
    forget_expired(access)?;
    let credentials = [
        element("AccessKeyId", &key),
        element("SecretAccessKey", &super::random_hex(20)?),
        element("SessionToken", &super::random_hex(32)?),
        element("Expiration", &instant(expires_ms)),
    ];
    let user = [element("AssumedRoleId", &format!("{}:{name}", role.id)), element("Arn", &access.arn_of(&Caller::Session(Box::new(session))))];
    Ok(format!("<Credentials>{}</Credentials><AssumedRoleUser>{}</AssumedRoleUser>", credentials.concat(), user.concat()))
}

fn trusts(role: &Role, who: &str, action: &str, role_arn: &str, context: &Context) -> Result<(), Fault> {
    let account = who.split(':').nth(4).unwrap_or_default();
    let mut principals = vec![who.to_owned()];
    // A session may be named by its role as well.
    if let Some(rest) = who.split_once(":assumed-role/").map(|(_, rest)| rest) {
        let name = rest.split('/').next().unwrap_or_default();
        principals.push(format!("arn:aws:iam::{account}:role/{name}"));
    }
    let ask = Ask { principals: &principals, account, action, resource: role_arn, context };
    match policy::parse(&role.trust).map(|document| policy::judge_named(&document, &ask)) {
        Some(Verdict::Allow) => Ok(()),
        Some(Verdict::Deny | Verdict::Silent) | None => Err(denied(who, action, role_arn)),
    }
}

fn check_session_name(name: &str) -> Result<(), Fault> {
    let sound = (2..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c));
    if sound {
        return Ok(());
    }
    Err(Fault::new("ValidationError", "roleSessionName must match [\\w+=,.@-]{2,64}"))
}

fn check_policy(policy: Option<&str>) -> Result<(), Fault> {
    let Some(text) = policy else { return Ok(()) };
    if text.chars().count() > POLICY_CHARS_MAX {
        return Err(Fault::new("ValidationError", format!("policy is longer than {POLICY_CHARS_MAX} characters")));
    }
    if policy::parse(text).is_none() {
        return Err(Fault::new("MalformedPolicyDocument", "The policy is not in the valid JSON format."));
    }
    Ok(())
}

fn session_seconds(form: &Form, role: &Role, caller: &Caller) -> Result<u32, Fault> {
    let seconds = match form.get("DurationSeconds") {
        None => 3_600.min(role.session_seconds_max),
        Some(text) => text.parse().map_err(|_| Fault::new("ValidationError", "DurationSeconds is not a number"))?,
    };
    if !(SESSION_SECONDS_MIN..=SESSION_SECONDS_MAX).contains(&seconds) {
        return Err(Fault::new("ValidationError", format!("durationSeconds must lie between {SESSION_SECONDS_MIN} and {SESSION_SECONDS_MAX}")));
    }
    let chained = matches!(caller, Caller::Session(_)) && seconds > CHAINED_SECONDS_MAX;
    if seconds > role.session_seconds_max || chained {
        return Err(Fault::new("ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."));
    }
    Ok(seconds)
}

/// Sessions an hour past their end answer "unknown" instead of "expired"; that keeps the table small.
fn forget_expired(access: &Access) -> Result<(), Fault> {
    let limit = (access.now_ms)() - 3_600_000;
    for (key, session) in access.state.list::<Session>("session/")? {
        if session.expires_ms < limit {
            access.state.delete(&key)?;
        }
    }
    Ok(())
}
