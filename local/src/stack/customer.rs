//! The customer's account: the role that the onboarding module makes, trusting Kiven with the environment's external id.
use super::{CUSTOMER_ACCOUNT, CUSTOMER_KEY, REGION, SAAS_ACCOUNT};
use crate::aws::Endpoints;
use kiven_aws::{Credentials, Sdk};
use serde_json::json;

/// The role's name, as the quickstart's defaults name it.
const ROLE: &str = "kiven-access";
/// The nodes' role.
const NODE_ROLE: &str = "kiven-node";
/// The boundary of every role that Kiven makes.
const BOUNDARY: &str = "kiven-boundary";

/// Kiven's principal.
pub(crate) fn principal() -> String {
    format!("arn:aws:iam::{SAAS_ACCOUNT}:role/kiven-worker")
}

/// SDK clients of the holder of a key.
pub(crate) fn sdk(endpoints: &Endpoints, key: &str) -> Sdk {
    let of = |url: &String| Some(url.clone());
    Sdk::new(&kiven_aws::Config {
        region: REGION.to_owned(),
        credentials: Credentials::Static { access_key_id: key.to_owned(), secret_access_key: "local".to_owned(), session_token: None },
        endpoints: kiven_aws::Endpoints {
            dynamodb: of(&endpoints.dynamodb),
            sqs: of(&endpoints.sqs),
            s3: of(&endpoints.s3),
            sts: of(&endpoints.sts),
            iam: of(&endpoints.iam),
            eks: of(&endpoints.eks),
            ..kiven_aws::Endpoints::default()
        },
    })
}

/// Makes the role, or lets it trust another external id: what `terraform apply` of the onboarding module does.
pub(crate) async fn onboard(endpoints: &Endpoints, external_id: &str) -> anyhow::Result<()> {
    let iam = sdk(endpoints, CUSTOMER_KEY).iam();
    let trust = json!({
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow", "Principal": { "AWS": principal() }, "Action": ["sts:AssumeRole"],
                "Condition": { "StringEquals": { "sts:ExternalId": external_id } },
            },
            { "Effect": "Allow", "Principal": { "AWS": principal() }, "Action": ["sts:TagSession"] },
        ],
    })
    .to_string();
    account(&sdk(endpoints, CUSTOMER_KEY)).await?;
    if iam.get_role().role_name(ROLE).send().await.is_err() {
        let nobody = json!({ "Effect": "Deny", "Principal": "*", "Action": "sts:AssumeRole" });
        let trust = json!({ "Version": "2012-10-17", "Statement": [nobody] }).to_string();
        iam.create_role().role_name(ROLE).assume_role_policy_document(trust).send().await?;
    }
    iam.put_role_policy().role_name(ROLE).policy_name("kiven").policy_document(policy()).send().await?;
    // Last: a connect tries the role again and again, and takes the first session that opens for what the role may do.
    iam.update_assume_role_policy().role_name(ROLE).policy_document(trust).send().await?;
    tracing::info!(role = ROLE, "the customer's role trusts the environment's external id");
    Ok(())
}

/// What an account has once: the nodes' role, EKS' own role, the boundary.
async fn account(sdk: &Sdk) -> anyhow::Result<()> {
    let iam = sdk.iam();
    let trust = |service: &str| {
        let statement = json!({ "Effect": "Allow", "Principal": { "Service": service }, "Action": "sts:AssumeRole" });
        json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()
    };
    for (name, path, service) in [
        (NODE_ROLE, "/", "ec2.amazonaws.com"),
        ("AWSServiceRoleForAmazonEKSNodegroup", "/aws-service-role/eks-nodegroup.amazonaws.com/", "eks-nodegroup.amazonaws.com"),
    ] {
        if iam.get_role().role_name(name).send().await.is_err() {
            iam.create_role().role_name(name).path(path).assume_role_policy_document(trust(service)).send().await?;
        }
    }
    for policy in ["AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryPullOnly"] {
        iam.attach_role_policy().role_name(NODE_ROLE).policy_arn(format!("arn:aws:iam::aws:policy/{policy}")).send().await?;
    }
    if iam.get_policy().policy_arn(format!("arn:aws:iam::{CUSTOMER_ACCOUNT}:policy/{BOUNDARY}")).send().await.is_err() {
        let most = json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Action": ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject", "s3:ListBucket"],
                "Resource": ["arn:aws:s3:::kiven-backups-*"],
            }],
        });
        iam.create_policy().policy_name(BOUNDARY).policy_document(most.to_string()).send().await?;
    }
    Ok(())
}

/// What Kiven may do: make and change, limited by name; never delete data.
fn policy() -> String {
    let named = |service: &str, rest: &str| format!("arn:aws:{service}:{rest}");
    json!({
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": [
                    "eks:DescribeCluster", "eks:CreateNodegroup", "eks:DescribeNodegroup", "eks:ListNodegroups", "eks:UpdateNodegroupConfig",
                    "eks:UpdateNodegroupVersion", "eks:ListUpdates",
                    "eks:DeleteNodegroup", "eks:DescribeUpdate", "eks:TagResource", "iam:CreateOpenIDConnectProvider", "iam:GetOpenIDConnectProvider",
                    "iam:ListOpenIDConnectProviders", "iam:TagOpenIDConnectProvider",
                ],
                "Resource": "*",
            },
            {
                "Effect": "Allow",
                "Action": [
                    "iam:ListRoles", "s3:ListAllMyBuckets", "ec2:RunInstances", "ec2:CreateTags", "ec2:DescribeInstanceTypes",
                    "ec2:DescribeLaunchTemplateVersions", "ec2:DescribeLaunchTemplates", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets",
                    "ec2:DescribeVpcs",
                ],
                "Resource": "*",
            },
            {
                "Effect": "Allow",
                "Action": ["iam:SimulatePrincipalPolicy", "iam:GetRole", "iam:ListAttachedRolePolicies", "iam:GetPolicy"],
                "Resource": [
                    named("iam", &format!(":{CUSTOMER_ACCOUNT}:role/kiven-*")),
                    named("iam", &format!(":{CUSTOMER_ACCOUNT}:role/aws-service-role/eks-nodegroup.amazonaws.com/*")),
                    named("iam", &format!(":{CUSTOMER_ACCOUNT}:policy/kiven-*")),
                ],
            },
            {
                "Effect": "Allow",
                "Action": [
                    "iam:CreateRole", "iam:GetRole", "iam:DeleteRole", "iam:PutRolePolicy", "iam:GetRolePolicy", "iam:DeleteRolePolicy", "iam:TagRole",
                    "iam:ListRoleTags", "iam:UpdateAssumeRolePolicy", "iam:ListRolePolicies", "iam:PassRole",
                ],
                "Resource": [named("iam", &format!(":{CUSTOMER_ACCOUNT}:role/kiven-*"))],
            },
            {
                "Effect": "Allow",
                "Action": [
                    "s3:CreateBucket", "s3:ListBucket", "s3:GetBucketTagging", "s3:PutBucketTagging", "s3:GetEncryptionConfiguration",
                    "s3:PutEncryptionConfiguration", "s3:GetBucketVersioning", "s3:PutBucketVersioning", "s3:GetLifecycleConfiguration",
                    "s3:PutLifecycleConfiguration", "s3:GetBucketPublicAccessBlock", "s3:PutBucketPublicAccessBlock", "s3:GetBucketPolicy",
                    "s3:PutBucketPolicy", "s3:GetBucketLocation", "s3:TagResource",
                ],
                "Resource": ["arn:aws:s3:::kiven-backups-*"],
            },
        ],
    })
    .to_string()
}
