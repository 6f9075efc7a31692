//! The environment's backup bucket and the roles of generations.

use std::collections::BTreeMap;

use aws_sdk_iam::types::{Role, Tag as IamTag};
use aws_sdk_s3::Client as S3;
use aws_sdk_s3::error::BuildError;
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration,
    ExpirationStatus, LifecycleRule, LifecycleRuleFilter, NoncurrentVersionExpiration, PublicAccessBlockConfiguration, ServerSideEncryption,
    ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration, ServerSideEncryptionRule, Tag, VersioningConfiguration,
};
use kiven_ports::PortError;
use kiven_ports::account::{Access, BackupBucket, BackupRole, ownership_tags};
use serde_json::{Value, json};

use super::owned;
use crate::Sdk;
use crate::error::{is, port_error, young_error};

/// The permissions boundary that the onboarding module makes: without it the customer's policy lets Kiven make no role.
const BOUNDARY: &str = "kiven-boundary";
/// The inline policy of a generation's role.
const ROLE_POLICY: &str = "kiven-backups";
/// The statement whose presence says that the bucket is finished: the policy is written last.
const FINISHED_SID: &str = "KivenKeepsItsHandsOff";
/// The lifecycle rule that keeps superseded versions for a while.
pub(super) const LIFECYCLE_RULE: &str = "kiven-superseded";
/// Parts of uploads that were never completed are kept this long.
const INCOMPLETE_UPLOAD_DAYS: i32 = 7;

/// Makes the bucket or finishes it. After the policy is on it, Kiven can change nothing of it any more.
pub(super) async fn bucket_ensure(sdk: &Sdk, access: &Access, bucket: &BackupBucket) -> Result<(), PortError> {
    let s3 = sdk.s3();
    let name = bucket.name.as_str();
    bucket_create(&s3, access, name).await?;
    let owner = access.account_id.as_str();
    let tags = bucket_tags(&s3, name, owner).await?;
    owned::check("bucket", name, &ownership_tags(access, None), |key| tags.get(key).cloned())?;
    if bucket_finished(&s3, name, owner).await? {
        return Ok(());
    }
    match bucket_finish(&s3, access, bucket).await {
        // Another provision of the environment was first: its policy is what denies us.
        Err(_) if bucket_finished(&s3, name, owner).await? => Ok(()),
        ended => ended,
    }
}

async fn bucket_finished(s3: &S3, name: &str, owner: &str) -> Result<bool, PortError> {
    match s3.get_bucket_policy().bucket(name).expected_bucket_owner(owner).send().await {
        Ok(answer) => Ok(answer.policy().is_some_and(|policy| policy.contains(FINISHED_SID))),
        Err(error) if is(&error, &["NoSuchBucketPolicy"]) => Ok(false),
        Err(error) => Err(port_error("s3:GetBucketPolicy", error)),
    }
}

async fn bucket_finish(s3: &S3, access: &Access, bucket: &BackupBucket) -> Result<(), PortError> {
    bucket_protect(s3, bucket, &access.account_id).await?;
    let policy = bucket_policy(&bucket.name, access).to_string();
    let put = s3.put_bucket_policy().bucket(&bucket.name).expected_bucket_owner(&access.account_id).policy(policy).send().await;
    put.map(|_| ()).map_err(|error| port_error("s3:PutBucketPolicy", error))
}

async fn bucket_create(s3: &S3, access: &Access, name: &str) -> Result<(), PortError> {
    match s3.head_bucket().bucket(name).expected_bucket_owner(&access.account_id).send().await {
        Ok(_) => return Ok(()),
        // A HEAD has no body, so the code is the status' word.
        Err(error) if is(&error, &["NotFound", "NoSuchBucket"]) => {}
        // Somebody else's bucket of that name looks the same as a missing permission.
        Err(error) => return Err(port_error("s3:ListBucket", error)),
    }
    // Tagged in the same call: a bucket without tags is never Kiven's.
    let mut place = CreateBucketConfiguration::builder();
    if access.region != "us-east-1" {
        place = place.location_constraint(BucketLocationConstraint::from(access.region.as_str()));
    }
    for (key, value) in ownership_tags(access, None) {
        place = place.tags(Tag::builder().key(key).value(value).build().map_err(unbuilt)?);
    }
    match s3.create_bucket().bucket(name).create_bucket_configuration(place.build()).send().await {
        Ok(_) => Ok(()),
        Err(error) if is(&error, &["BucketAlreadyOwnedByYou"]) => Ok(()),
        Err(error) => Err(port_error("s3:CreateBucket", error)),
    }
}

pub(super) async fn bucket_tags(s3: &S3, name: &str, owner: &str) -> Result<BTreeMap<String, String>, PortError> {
    match s3.get_bucket_tagging().bucket(name).expected_bucket_owner(owner).send().await {
        Ok(answer) => Ok(answer.tag_set().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect()),
        Err(error) if is(&error, &["NoSuchTagSet"]) => Ok(BTreeMap::new()),
        Err(error) => Err(young_error("s3:GetBucketTagging", error)),
    }
}

async fn bucket_protect(s3: &S3, bucket: &BackupBucket, owner: &str) -> Result<(), PortError> {
    let name = bucket.name.as_str();
    let closed = PublicAccessBlockConfiguration::builder()
        .block_public_acls(true)
        .ignore_public_acls(true)
        .block_public_policy(true)
        .restrict_public_buckets(true)
        .build();
    let put = s3.put_public_access_block().bucket(name).expected_bucket_owner(owner).public_access_block_configuration(closed).send().await;
    put.map_err(|error| young_error("s3:PutBucketPublicAccessBlock", error))?;

    let default = ServerSideEncryptionByDefault::builder();
    let default = match &bucket.kms_key_arn {
        Some(key) => default.sse_algorithm(ServerSideEncryption::AwsKms).kms_master_key_id(key),
        None => default.sse_algorithm(ServerSideEncryption::Aes256),
    };
    // One data key for many objects: WAL would cost a call of KMS for each segment.
    let rule = ServerSideEncryptionRule::builder().bucket_key_enabled(bucket.kms_key_arn.is_some());
    let rule = rule.apply_server_side_encryption_by_default(default.build().map_err(unbuilt)?);
    let encryption = ServerSideEncryptionConfiguration::builder().rules(rule.build()).build().map_err(unbuilt)?;
    let put = s3.put_bucket_encryption().bucket(name).expected_bucket_owner(owner).server_side_encryption_configuration(encryption).send().await;
    put.map_err(|error| young_error("s3:PutEncryptionConfiguration", error))?;

    let versioning = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let put = s3.put_bucket_versioning().bucket(name).expected_bucket_owner(owner).versioning_configuration(versioning).send().await;
    put.map_err(|error| young_error("s3:PutBucketVersioning", error))?;

    let days = i32::try_from(bucket.noncurrent_days).unwrap_or(i32::MAX);
    let rule = LifecycleRule::builder()
        .id(LIFECYCLE_RULE)
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix("").build())
        .noncurrent_version_expiration(NoncurrentVersionExpiration::builder().noncurrent_days(days).build())
        .abort_incomplete_multipart_upload(AbortIncompleteMultipartUpload::builder().days_after_initiation(INCOMPLETE_UPLOAD_DAYS).build());
    let rules = BucketLifecycleConfiguration::builder().rules(rule.build().map_err(unbuilt)?);
    let rules = rules.build().map_err(unbuilt)?;
    let put = s3.put_bucket_lifecycle_configuration().bucket(name).expected_bucket_owner(owner).lifecycle_configuration(rules).send().await;
    put.map(|_| ()).map_err(|error| young_error("s3:PutLifecycleConfiguration", error))
}

pub(super) fn bucket_policy(bucket: &str, access: &Access) -> Value {
    let (all, objects) = (format!("arn:aws:s3:::{bucket}"), format!("arn:aws:s3:::{bucket}/*"));
    json!({"Version": "2012-10-17", "Statement": [
        {"Sid": "TlsOnly", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [all, objects],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
        // A session of Kiven's says for which environment it is: another one's does nothing here.
        {"Sid": "ThisEnvironmentOnly", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [all, objects],
            "Condition": {
                "StringNotEquals": {"aws:PrincipalTag/kiven:environment": access.environment_id},
                "Null": {"aws:PrincipalTag/kiven:environment": "false"}}},
        {"Sid": FINISHED_SID, "Effect": "Deny", "Principal": {"AWS": access.role_arn},
            "Action": ["s3:DeleteBucket", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:PutBucketPolicy",
                "s3:DeleteBucketPolicy", "s3:PutLifecycleConfiguration", "s3:PutBucketVersioning",
                "s3:PutEncryptionConfiguration", "s3:PutBucketPublicAccessBlock"],
            "Resource": [all, objects]},
    ]})
}

/// The boundary's ARN.
pub(super) fn boundary_arn(access: &Access) -> String {
    format!("arn:aws:iam::{}:policy/{BOUNDARY}", access.account_id)
}

/// Makes the role of a generation or brings it to what it should be. IAM is eventually consistent: the calls after the first may
/// not know the role yet.
pub(super) async fn role_ensure(sdk: &Sdk, access: &Access, wanted: &BackupRole) -> Result<String, PortError> {
    let iam = sdk.iam();
    let trust = trust_policy(wanted);
    let tags = ownership_tags(access, Some(&wanted.database_id));
    let role = match role_get(sdk, &wanted.name).await? {
        Some(role) => {
            role_check(&role, &tags)?;
            if document(role.assume_role_policy_document()) != trust {
                let update = iam.update_assume_role_policy().role_name(&wanted.name).policy_document(trust.to_string());
                update.send().await.map_err(|error| young_error("iam:UpdateAssumeRolePolicy", error))?;
            }
            role
        }
        None => {
            let mut create = iam
                .create_role()
                .role_name(&wanted.name)
                .description("Backups of one Kiven database")
                .permissions_boundary(boundary_arn(access))
                .assume_role_policy_document(trust.to_string());
            for (key, value) in &tags {
                create = create
                    .tags(IamTag::builder().key(key).value(value).build().map_err(|error| PortError::retry("iam:CreateRole", error.to_string()))?);
            }
            match create.send().await {
                Ok(answer) => answer.role.ok_or_else(|| PortError::retry("iam:CreateRole", "the answer has no role"))?,
                // Made meanwhile: the next try reads whose it is.
                Err(error) if is(&error, &["EntityAlreadyExists"]) => {
                    return Err(PortError::retry("iam:CreateRole", "it was made meanwhile"));
                }
                Err(error) => return Err(port_error("iam:CreateRole", error)),
            }
        }
    };
    let put = iam.put_role_policy().role_name(&wanted.name).policy_name(ROLE_POLICY).policy_document(archive_policy(wanted).to_string());
    put.send().await.map_err(|error| young_error("iam:PutRolePolicy", error))?;
    Ok(role.arn().to_owned())
}

/// Deletes a role that carries this environment's tags.
pub(super) async fn role_delete(sdk: &Sdk, access: &Access, name: &str) -> Result<(), PortError> {
    let Some(role) = role_get(sdk, name).await? else { return Ok(()) };
    role_check(&role, &ownership_tags(access, None))?;
    let iam = sdk.iam();
    match iam.delete_role_policy().role_name(name).policy_name(ROLE_POLICY).send().await {
        Ok(_) => {}
        Err(error) if is(&error, &["NoSuchEntity"]) => {}
        Err(error) => return Err(port_error("iam:DeleteRolePolicy", error)),
    }
    match iam.delete_role().role_name(name).send().await {
        Ok(_) => Ok(()),
        Err(error) if is(&error, &["NoSuchEntity"]) => Ok(()),
        Err(error) => Err(port_error("iam:DeleteRole", error)),
    }
}

pub(super) async fn role_get(sdk: &Sdk, name: &str) -> Result<Option<Role>, PortError> {
    match sdk.iam().get_role().role_name(name).send().await {
        Ok(answer) => Ok(answer.role),
        Err(error) if is(&error, &["NoSuchEntity"]) => Ok(None),
        Err(error) => Err(port_error("iam:GetRole", error)),
    }
}

/// The role's inline policy; null when there is none.
pub(super) async fn role_policy(sdk: &Sdk, name: &str) -> Result<Value, PortError> {
    match sdk.iam().get_role_policy().role_name(name).policy_name(ROLE_POLICY).send().await {
        Ok(answer) => Ok(document(Some(answer.policy_document()))),
        Err(error) if is(&error, &["NoSuchEntity"]) => Ok(Value::Null),
        Err(error) => Err(port_error("iam:GetRolePolicy", error)),
    }
}

fn role_check(role: &Role, expected: &BTreeMap<String, String>) -> Result<(), PortError> {
    owned::check("role", role.role_name(), expected, |key| role.tags().iter().find(|tag| tag.key() == key).map(|tag| tag.value().to_owned()))
}

pub(super) fn trust_policy(wanted: &BackupRole) -> Value {
    let host = super::clusters::host_of(&wanted.oidc_issuer);
    json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Principal": {"Federated": wanted.oidc_provider_arn},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {
            format!("{host}:aud"): "sts.amazonaws.com",
            format!("{host}:sub"): format!("system:serviceaccount:{}", wanted.service_account),
        }},
    }]})
}

/// Objects of the one prefix, never their versions.
pub(super) fn archive_policy(wanted: &BackupRole) -> Value {
    let bucket = format!("arn:aws:s3:::{}", wanted.bucket);
    let prefix = wanted.prefix.trim_matches('/');
    let mut statements = vec![
        json!({"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
            "Resource": format!("{bucket}/{prefix}/*")}),
        json!({"Effect": "Allow", "Action": "s3:ListBucket", "Resource": bucket,
            "Condition": {"StringLike": {"s3:prefix": [prefix, format!("{prefix}/*")]}}}),
    ];
    if let Some(key) = &wanted.kms_key_arn {
        statements.push(json!({"Effect": "Allow", "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": key}));
    }
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// IAM gives policies URL-encoded.
pub(super) fn document(encoded: Option<&str>) -> Value {
    let Some(encoded) = encoded else { return Value::Null };
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let byte = match (first, tail) {
            (b'%', [high, low, ..]) => hex::decode([*high, *low]).ok().and_then(|pair| pair.first().copied()),
            _ => None,
        };
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    serde_json::from_slice(&bytes).unwrap_or(Value::Null)
}

fn unbuilt(error: BuildError) -> PortError {
    PortError::retry("s3", error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_come_back_from_their_encoding() {
        assert_eq!(document(Some("%7B%22a%22%3A%22x%2fy%22%7D")), json!({"a": "x/y"}));
        assert_eq!(document(Some("%7")), Value::Null);
        assert_eq!(document(None), Value::Null);
    }
}
