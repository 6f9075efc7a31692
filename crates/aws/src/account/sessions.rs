//! Sessions in customers' accounts: assumed for 15 minutes, kept by role, external id, region and family.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use aws_sdk_sts::error::SdkError;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::types::{Credentials as Given, Tag};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use futures_util::future::join3;
use kiven_model::{Code, Problem};
use kiven_ports::PortError;
use kiven_ports::account::Access;
use tokio::sync::Mutex;

use super::policies::Family;
use crate::error::{is, port_error};
use crate::{Credentials, Sdk};

/// The shortest session AWS gives.
const SESSION_SECONDS: i32 = 900;
/// A session is used until this long before its end.
const SESSION_MARGIN: Duration = Duration::from_secs(120);
/// Sessions kept at once; the one that ends first goes.
const SESSIONS_MAX: usize = 512;
/// Longest session name.
const SESSION_NAME_CHARS_MAX: usize = 64;

type Key = (String, String, String, Family);

/// Used until its end by both clocks: a frozen function's timers stand still, and a wall clock may be set back.
struct Kept {
    sdk: Sdk,
    until: Instant,
    until_wall: SystemTime,
}

impl Kept {
    fn is_good(&self) -> bool {
        self.until > Instant::now() && self.until_wall > wall_now()
    }
}

fn wall_now() -> SystemTime {
    #[expect(clippy::disallowed_methods, reason = "credentials expire by the wall clock")]
    SystemTime::now()
}

/// A session, and whether it was kept from before.
pub(super) struct Opened {
    pub(super) sdk: Sdk,
    pub(super) kept: bool,
    until: Instant,
}

pub(super) struct Sessions {
    own: Sdk,
    kept: Mutex<BTreeMap<Key, Kept>>,
}

impl Sessions {
    pub(super) fn new(own: Sdk) -> Self {
        Self { own, kept: Mutex::new(BTreeMap::new()) }
    }

    /// A session for the family, new or kept. A session's name carries the operation that opened it.
    pub(super) async fn open(&self, access: &Access, family: Family) -> Result<Opened, PortError> {
        let key = key(access, family);
        if let Some(kept) = self.kept.lock().await.get(&key).filter(|kept| kept.is_good()) {
            return Ok(Opened { sdk: kept.sdk.clone(), kept: true, until: kept.until });
        }
        let (began, began_wall) = (Instant::now(), wall_now());
        let given = self.assume(access, family, Some(&access.external_id)).await.map_err(denied)?;
        let sdk = self.own.with(credentials(&given), &access.region);
        let good_for = Duration::from_secs(SESSION_SECONDS.unsigned_abs().into()) - SESSION_MARGIN;
        let (until, until_wall) = (began + good_for, began_wall + good_for);
        let mut kept = self.kept.lock().await;
        kept.retain(|_, session| session.is_good());
        if kept.len() >= SESSIONS_MAX {
            let first = kept.iter().min_by_key(|(_, session)| session.until).map(|(key, _)| key.clone());
            first.and_then(|key| kept.remove(&key));
        }
        kept.insert(key, Kept { sdk: sdk.clone(), until, until_wall });
        Ok(Opened { sdk, kept: false, until })
    }

    /// Keeps a session no longer; one that somebody else has opened meanwhile stays.
    pub(super) async fn drop_kept(&self, access: &Access, family: Family, opened: &Opened) {
        let (mut kept, key) = (self.kept.lock().await, key(access, family));
        if kept.get(&key).is_some_and(|session| session.until == opened.until) {
            kept.remove(&key);
        }
    }

    /// Shows that the role opens with the external id, and neither without one nor with another.
    pub(super) async fn prove(&self, access: &Access) -> Result<(), PortError> {
        let wrong = format!("not-{}", access.external_id.chars().rev().collect::<String>());
        let (right, without, other) = join3(
            self.assume(access, Family::Prove, Some(&access.external_id)),
            self.assume(access, Family::Prove, None),
            self.assume(access, Family::Prove, Some(&wrong)),
        )
        .await;
        let given = right.map_err(denied)?;
        for unchecked in [without, other] {
            match unchecked {
                Ok(_) => return Err(external_id_unchecked()),
                Err(error) if is(&error, &["AccessDenied"]) => {}
                Err(error) => return Err(port_error("sts:AssumeRole", error)),
            }
        }
        let identity = self.own.with(credentials(&given), &access.region).sts().get_caller_identity().send().await;
        let identity = identity.map_err(|error| port_error("sts:GetCallerIdentity", error))?;
        if identity.account() != Some(access.account_id.as_str()) {
            return Err(PortError::Refused(
                Problem::new(Code::ACCESS_DENIED, "The role is in another AWS account.")
                    .detail(format!("it is in {}", identity.account().unwrap_or("none")))
                    .hint("Give the role of the environment's own account."),
            ));
        }
        Ok(())
    }

    async fn assume(&self, access: &Access, family: Family, external_id: Option<&str>) -> Result<Given, SdkError<AssumeRoleError, HttpResponse>> {
        let tags = [("kiven:organization", access.organization_id.as_str()), ("kiven:environment", access.environment_id.as_str())];
        let mut call = self
            .own
            .sts()
            .assume_role()
            .role_arn(&access.role_arn)
            .role_session_name(session_name(access, family))
            .duration_seconds(SESSION_SECONDS)
            .policy(family.policy())
            .set_external_id(external_id.map(str::to_owned));
        for (key, value) in tags {
            let tag = Tag::builder().key(key).value(value).build().map_err(SdkError::construction_failure)?;
            call = call.tags(tag);
        }
        let answer = call.send().await?;
        answer.credentials.ok_or_else(|| SdkError::construction_failure("the answer has no credentials"))
    }
}

fn key(access: &Access, family: Family) -> Key {
    (access.role_arn.clone(), access.external_id.clone(), access.region.clone(), family)
}

fn session_name(access: &Access, family: Family) -> String {
    let mut name = format!("kiven-{}-{}", access.operation_id, family.as_str());
    name.truncate(SESSION_NAME_CHARS_MAX);
    name
}

fn credentials(given: &Given) -> Credentials {
    Credentials::Static {
        access_key_id: given.access_key_id().to_owned(),
        secret_access_key: given.secret_access_key().to_owned(),
        session_token: Some(given.session_token().to_owned()),
    }
}

fn denied(error: SdkError<AssumeRoleError, HttpResponse>) -> PortError {
    if is(&error, &["AccessDenied"]) {
        return PortError::Refused(
            Problem::new(Code::ACCESS_DENIED, "Kiven may not assume the role.")
                .detail("AWS answered AccessDenied to sts:AssumeRole.")
                .hint("Check the role's ARN, and that its trust policy names Kiven's principal and this environment's external id and allows sts:TagSession."),
        );
    }
    port_error("sts:AssumeRole", error)
}

fn external_id_unchecked() -> PortError {
    PortError::Refused(
        Problem::new(Code::EXTERNAL_ID_UNCHECKED, "The role can be assumed without its external id.")
            .hint("Add the condition StringEquals sts:ExternalId with this environment's external_id to the role's trust policy."),
    )
}
