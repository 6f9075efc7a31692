//! Session policies: one fixed document per family of steps, so that a session can do its family's work and no more.
//!
//! None of them may delete an object, a version, a bucket or a key.

/// Longest session policy; AWS allows 2,048 characters and packs tags into the same budget.
#[cfg(test)]
const POLICY_CHARS_MAX: usize = 1_500;

/// A family of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Proving that the role can be assumed: nothing may be done.
    Prove,
    /// Asking what the role may do and what is there; changing nothing.
    Preflight,
    /// Reading the EKS cluster and its OIDC provider.
    Cluster,
    /// Node groups.
    Nodes,
    /// The backup bucket.
    Bucket,
    /// Roles of generations.
    Roles,
    /// Listing what there is; changing nothing.
    Inventory,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 7] = [Self::Prove, Self::Preflight, Self::Cluster, Self::Nodes, Self::Bucket, Self::Roles, Self::Inventory];

    /// The word in session names and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prove => "prove",
            Self::Preflight => "preflight",
            Self::Cluster => "cluster",
            Self::Nodes => "nodes",
            Self::Bucket => "bucket",
            Self::Roles => "roles",
            Self::Inventory => "inventory",
        }
    }

    /// The family's session policy.
    #[must_use]
    pub const fn policy(self) -> &'static str {
        match self {
            Self::Prove => r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:GetCallerIdentity","Resource":"*"}]}"#,
            Self::Preflight => PREFLIGHT,
            Self::Cluster => CLUSTER,
            Self::Nodes => NODES,
            Self::Bucket => BUCKET,
            Self::Roles => ROLES,
            Self::Inventory => INVENTORY,
        }
    }
}

const PREFLIGHT: &str = r#"{"Version":"2012-10-17","Statement":[
{"Effect":"Allow","Action":["iam:SimulatePrincipalPolicy","iam:GetRole","iam:ListAttachedRolePolicies"],"Resource":"arn:aws:iam::*:role/*"},
{"Effect":"Allow","Action":"iam:GetPolicy","Resource":"arn:aws:iam::*:policy/kiven-*"}]}"#;

const CLUSTER: &str = r#"{"Version":"2012-10-17","Statement":[
{"Effect":"Allow","Action":"eks:DescribeCluster","Resource":"arn:aws:eks:*:*:cluster/*"},
{"Effect":"Allow","Action":["iam:GetOpenIDConnectProvider","iam:CreateOpenIDConnectProvider","iam:TagOpenIDConnectProvider"],"Resource":"arn:aws:iam::*:oidc-provider/*"}]}"#;

// EKS starts the nodes with the caller's rights, hence the EC2 actions and PassRole.
const NODES: &str = r#"{"Version":"2012-10-17","Statement":[
{"Effect":"Allow","Action":["eks:CreateNodegroup","eks:ListNodegroups","eks:DescribeCluster"],"Resource":"arn:aws:eks:*:*:cluster/*"},
{"Effect":"Allow","Action":["eks:DescribeNodegroup","eks:UpdateNodegroupConfig","eks:UpdateNodegroupVersion","eks:DeleteNodegroup","eks:DescribeUpdate","eks:ListUpdates","eks:TagResource"],"Resource":"arn:aws:eks:*:*:nodegroup/*/kiven-*/*"},
{"Effect":"Allow","Action":["ec2:RunInstances","ec2:CreateTags","ec2:DescribeInstanceTypes","ec2:DescribeLaunchTemplateVersions","ec2:DescribeLaunchTemplates","ec2:DescribeSecurityGroups","ec2:DescribeSubnets","ec2:DescribeVpcs"],"Resource":"*"},
{"Effect":"Allow","Action":"iam:PassRole","Resource":"*","Condition":{"StringEquals":{"iam:PassedToService":["eks.amazonaws.com","ec2.amazonaws.com"]}}}]}"#;

const BUCKET: &str = r#"{"Version":"2012-10-17","Statement":[
{"Effect":"Allow","Action":["s3:CreateBucket","s3:TagResource","s3:ListBucket","s3:GetBucketTagging","s3:GetBucketPolicy","s3:PutBucketPolicy","s3:PutEncryptionConfiguration","s3:PutBucketVersioning","s3:PutLifecycleConfiguration","s3:PutBucketPublicAccessBlock"],"Resource":"arn:aws:s3:::kiven-backups-*"}]}"#;

const ROLES: &str = r#"{"Version":"2012-10-17","Statement":[
{"Effect":"Allow","Action":["iam:CreateRole","iam:GetRole","iam:TagRole","iam:UpdateAssumeRolePolicy","iam:PutRolePolicy","iam:DeleteRolePolicy","iam:DeleteRole"],"Resource":"arn:aws:iam::*:role/kiven-*"}]}"#;

// Lists cannot be limited to names; what they give is read one by one, and only Kiven's own.
const INVENTORY: &str = r#"{"Version":"2012-10-17","Statement":[
{"Effect":"Allow","Action":"eks:ListNodegroups","Resource":"arn:aws:eks:*:*:cluster/*"},
{"Effect":"Allow","Action":"eks:DescribeNodegroup","Resource":"arn:aws:eks:*:*:nodegroup/*/kiven-*/*"},
{"Effect":"Allow","Action":["iam:ListRoles","s3:ListAllMyBuckets"],"Resource":"*"},
{"Effect":"Allow","Action":["iam:GetRole","iam:GetRolePolicy"],"Resource":"arn:aws:iam::*:role/kiven-*"},
{"Effect":"Allow","Action":"iam:GetOpenIDConnectProvider","Resource":"arn:aws:iam::*:oidc-provider/*"},
{"Effect":"Allow","Action":["s3:ListBucket","s3:GetBucketTagging","s3:GetBucketPolicy","s3:GetEncryptionConfiguration","s3:GetBucketVersioning","s3:GetLifecycleConfiguration","s3:GetBucketPublicAccessBlock"],"Resource":"arn:aws:s3:::kiven-backups-*"}]}"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_small_valid_and_delete_no_data() {
        for family in Family::ALL {
            let policy = family.policy();
            assert!(policy.chars().count() < POLICY_CHARS_MAX, "{family:?}");
            serde_json::from_str::<serde_json::Value>(policy).unwrap();
            for never in ["s3:Delete", "s3:*", "ec2:Describe*", "kms:", "\"*:*\"", "\"Action\":\"*\""] {
                assert!(!policy.contains(never), "{family:?} allows {never}");
            }
        }
    }
}
