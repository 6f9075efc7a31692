//! How what Kiven made in an account differs from what it would make now. Nothing is changed; what is not there is the
//! inventory's to say.
use std::time::Duration;

use aws_sdk_eks::types::{Nodegroup, TaintEffect};
use aws_sdk_s3::types::ServerSideEncryption;
use futures_util::future::{join4, try_join_all};
use kiven_ports::PortError;
use kiven_ports::account::{Access, BackupBucket, BackupRole, Difference, Differences, NodeGroup, ResourceKind, Wanted};
use serde_json::Value;

use super::{backups, clusters, node_groups};
use crate::Sdk;
use crate::error::{is, port_error};

/// The longest a look may take: whoever asks waits for it.
const LOOK_SECONDS_MAX: u64 = 8;

type Found = Result<Vec<Difference>, PortError>;

pub(super) async fn read(sdk: &Sdk, access: &Access, wanted: &Wanted) -> Result<Differences, PortError> {
    let groups = async { Ok(try_join_all(wanted.node_groups.iter().map(|group| of_group(sdk, group))).await?.concat()) };
    let roles = async { Ok(try_join_all(wanted.roles.iter().map(|role| of_role(sdk, access, role))).await?.concat()) };
    let bucket = async {
        match &wanted.bucket {
            Some(bucket) => of_bucket(sdk, access, bucket).await,
            None => Ok(Vec::new()),
        }
    };
    let look = join4(groups, roles, bucket, of_provider(sdk, wanted));
    let late = |_| PortError::retry("differences", format!("the account took longer than {LOOK_SECONDS_MAX} seconds"));
    let found: (Found, Found, Found, Found) = tokio::time::timeout(Duration::from_secs(LOOK_SECONDS_MAX), look).await.map_err(late)?;
    let mut differences = Differences::default();
    let kinds = [ResourceKind::NodeGroup, ResourceKind::BackupRole, ResourceKind::BackupBucket, ResourceKind::OidcProvider];
    for (kind, found) in kinds.into_iter().zip([found.0, found.1, found.2, found.3]) {
        match found {
            Ok(found) => differences.found.extend(found),
            // The customer's role may be one that was made before this was asked of it.
            Err(PortError::Refused(problem)) => differences.unseen.push((kind, problem.to_string())),
            Err(error) => return Err(error),
        }
    }
    Ok(differences)
}

/// Which of these do not hold, in words.
fn broken(kind: ResourceKind, name: &str, held: &[(bool, &str)]) -> Vec<Difference> {
    held.iter().filter(|(holds, _)| !holds).map(|(_, what)| Difference { kind, name: name.to_owned(), what: (*what).to_owned() }).collect()
}

async fn of_group(sdk: &Sdk, wanted: &NodeGroup) -> Found {
    let Some(found) = node_groups::describe(sdk, &wanted.cluster, &wanted.name).await? else { return Ok(Vec::new()) };
    let label = |key: &str| found.labels().and_then(|labels| labels.get(key)).map(String::as_str);
    let template = found.launch_template().is_some_and(|one| [one.id(), one.name()].contains(&Some(wanted.launch_template.as_str())));
    let sorted = |types: &[String]| {
        let mut types = types.to_vec();
        types.sort();
        types
    };
    Ok(broken(
        ResourceKind::NodeGroup,
        &wanted.name,
        &[
            (tainted(&found), "its taint is not kiven.io/role=database:NoSchedule alone: other pods come onto its nodes, or databases do not"),
            (
                label("kiven.io/database") == Some(wanted.database_id.as_str()),
                "its label kiven.io/database is not its database's: no instance is scheduled there",
            ),
            (
                label("kiven.io/node-type") == Some(wanted.node_type.as_str()),
                "its label kiven.io/node-type is not its class: no instance is scheduled there",
            ),
            (found.subnets() == [wanted.subnet.clone()], "it is in other subnets than that of its zone: volumes cannot follow"),
            (sorted(found.instance_types()) == sorted(&wanted.node_types), "its instance types are not those of its class"),
            (template, "its launch template is not the connection's"),
        ],
    ))
}

fn tainted(group: &Nodegroup) -> bool {
    matches!(group.taints(), [one] if one.key() == Some("kiven.io/role") && one.value() == Some("database") && one.effect() == Some(&TaintEffect::NoSchedule))
}

async fn of_role(sdk: &Sdk, access: &Access, wanted: &BackupRole) -> Found {
    let Some(role) = backups::role_get(sdk, &wanted.name).await? else { return Ok(Vec::new()) };
    let boundary = role.permissions_boundary().and_then(|boundary| boundary.permissions_boundary_arn());
    let policy = backups::role_policy(sdk, &wanted.name).await?;
    Ok(broken(
        ResourceKind::BackupRole,
        &wanted.name,
        &[
            (
                backups::document(role.assume_role_policy_document()) == backups::trust_policy(wanted),
                "its trust policy is not Kiven's: others may assume it, or the database's backups cannot",
            ),
            (boundary == Some(backups::boundary_arn(access).as_str()), "its permissions boundary is not the onboarding module's"),
            (policy == backups::archive_policy(wanted), "its policy is not Kiven's: it reaches more than its archive, or not its archive"),
        ],
    ))
}

/// The answer of a setting that may not be there at all.
macro_rules! setting {
    ($call:expr, $action:literal, $missing:literal) => {
        match $call.send().await {
            Ok(answer) => Some(answer),
            Err(error) if is(&error, &[$missing]) => None,
            Err(error) => return Err(port_error($action, error)),
        }
    };
}

async fn of_bucket(sdk: &Sdk, access: &Access, wanted: &BackupBucket) -> Found {
    let (s3, name, owner) = (sdk.s3(), wanted.name.as_str(), access.account_id.as_str());
    match s3.head_bucket().bucket(name).expected_bucket_owner(owner).send().await {
        Ok(_) => {}
        Err(error) if is(&error, &["NotFound", "NoSuchBucket"]) => return Ok(Vec::new()),
        Err(error) => return Err(port_error("s3:HeadBucket", error)),
    }
    let encryption = setting!(
        s3.get_bucket_encryption().bucket(name).expected_bucket_owner(owner),
        "s3:GetEncryptionConfiguration",
        "ServerSideEncryptionConfigurationNotFoundError"
    );
    let defaults = encryption.as_ref().and_then(|one| one.server_side_encryption_configuration()).map(|one| one.rules()).unwrap_or_default();
    // Another key than the roles of backups may use: nothing is archived.
    let encrypted = defaults.iter().filter_map(|rule| rule.apply_server_side_encryption_by_default()).any(|default| match &wanted.kms_key_arn {
        Some(key) => default.sse_algorithm() == &ServerSideEncryption::AwsKms && default.kms_master_key_id() == Some(key.as_str()),
        None => default.sse_algorithm() == &ServerSideEncryption::Aes256,
    });
    let versioning = s3
        .get_bucket_versioning()
        .bucket(name)
        .expected_bucket_owner(owner)
        .send()
        .await
        .map_err(|error| port_error("s3:GetBucketVersioning", error))?;
    let closed = setting!(
        s3.get_public_access_block().bucket(name).expected_bucket_owner(owner),
        "s3:GetBucketPublicAccessBlock",
        "NoSuchPublicAccessBlockConfiguration"
    );
    let closed = closed.as_ref().and_then(|one| one.public_access_block_configuration()).is_some_and(|one| {
        [one.block_public_acls(), one.ignore_public_acls(), one.block_public_policy(), one.restrict_public_buckets()] == [Some(true); 4]
    });
    let lifecycle = setting!(
        s3.get_bucket_lifecycle_configuration().bucket(name).expected_bucket_owner(owner),
        "s3:GetLifecycleConfiguration",
        "NoSuchLifecycleConfiguration"
    );
    let days = i32::try_from(wanted.noncurrent_days).unwrap_or(i32::MAX);
    let rules = lifecycle.as_ref().map(|one| one.rules()).unwrap_or_default();
    let superseded = |rule: &&aws_sdk_s3::types::LifecycleRule| rule.id() == Some(backups::LIFECYCLE_RULE);
    let kept = rules.iter().find(superseded).and_then(|rule| rule.noncurrent_version_expiration()).and_then(|one| one.noncurrent_days());
    // A rule of somebody's own that expires what is current takes backups away.
    let expires = rules.iter().any(|rule| rule.expiration().is_some_and(|one| one.days().is_some() || one.date().is_some()));
    let policy = setting!(s3.get_bucket_policy().bucket(name).expected_bucket_owner(owner), "s3:GetBucketPolicy", "NoSuchBucketPolicy");
    let policy: Value = policy.as_ref().and_then(|one| one.policy()).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    Ok(broken(
        ResourceKind::BackupBucket,
        name,
        &[
            (encrypted, "it is not encrypted with the key that Kiven set: backups may not be written or read"),
            (
                versioning.status() == Some(&aws_sdk_s3::types::BucketVersioningStatus::Enabled),
                "it keeps no versions: what is overwritten or deleted is lost",
            ),
            (closed, "its public access block is not whole"),
            (kept == Some(days), "superseded versions are not kept as long as Kiven set it"),
            (!expires, "a lifecycle rule expires current objects: backups go before their retention"),
            (denies(&policy, &backups::bucket_policy(name, access)), "its policy does not deny what Kiven denied itself, or plain HTTP"),
        ],
    ))
}

/// Whether every statement that Kiven wrote is there as it was. The role it names may have been replaced since.
fn denies(policy: &Value, written: &Value) -> bool {
    let statements = |of: &Value| of["Statement"].as_array().cloned().unwrap_or_default();
    let rules = |one: &Value| ["Sid", "Effect", "Action", "Resource", "Condition"].map(|field| one[field].clone());
    let found: Vec<_> = statements(policy).iter().map(rules).collect();
    statements(written).iter().all(|one| found.contains(&rules(one)))
}

async fn of_provider(sdk: &Sdk, wanted: &Wanted) -> Found {
    let arn = wanted.oidc_provider_arn.as_str();
    let found = match sdk.iam().get_open_id_connect_provider().open_id_connect_provider_arn(arn).send().await {
        Ok(found) => found,
        Err(error) if is(&error, &["NoSuchEntity"]) => {
            return Ok(broken(ResourceKind::OidcProvider, arn, &[(false, "it is not there: no database can archive or be restored")]));
        }
        Err(error) => return Err(port_error("iam:GetOpenIDConnectProvider", error)),
    };
    let accepts = found.client_id_list().iter().any(|audience| audience == clusters::AUDIENCE);
    // IAM gives the URL without its scheme.
    let same = found.url().is_none_or(|url| clusters::host_of(url) == clusters::host_of(&wanted.oidc_issuer));
    Ok(broken(
        ResourceKind::OidcProvider,
        arn,
        &[
            (accepts, "it does not accept the audience sts.amazonaws.com: nothing is archived"),
            (same, "it is of another issuer than the EKS cluster's"),
        ],
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiven_model::{EnvironmentId, OperationId, OrganizationId};
    use serde_json::json;

    fn access() -> Access {
        Access {
            role_arn: String::new(),
            external_id: "x".to_owned(),
            account_id: "1".to_owned(),
            region: "eu-west-1".to_owned(),
            organization_id: OrganizationId::from_random([1; 16]),
            environment_id: EnvironmentId::from_random([2; 16]),
            operation_id: OperationId::from_random([3; 16]),
        }
    }

    #[test]
    fn a_policy_denies_whatever_else_it_says_and_whoever_kiven_is_now() {
        let policy = |role: &str| backups::bucket_policy("b", &Access { role_arn: format!("arn:aws:iam::1:role/{role}"), ..access() });
        let (written, mut found) = (policy("old"), policy("new"));
        assert!(denies(&found, &written));
        if let Some(statements) = found["Statement"].as_array_mut() {
            statements.insert(0, json!({ "Sid": "Own", "Effect": "Allow", "Action": "s3:GetObject" }));
        }
        assert!(denies(&found, &written));
        found["Statement"][2]["Action"] = json!(["s3:DeleteBucket"]);
        assert!(!denies(&found, &written) && !denies(&Value::Null, &written));
    }
}
