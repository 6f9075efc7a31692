# Looking: at the cluster, at what Kiven made, and at what is missing.
locals {
  look = [
    {
      Sid      = "ReadCluster"
      Effect   = "Allow"
      Action   = ["eks:DescribeCluster", "eks:ListNodegroups"]
      Resource = local.cluster
    },
    {
      Sid    = "OidcProviderOfTheCluster"
      Effect = "Allow"
      Action = [
        "iam:CreateOpenIDConnectProvider",
        "iam:GetOpenIDConnectProvider",
        "iam:TagOpenIDConnectProvider",
      ]
      Resource = "${local.iam}:oidc-provider/${var.oidc_host}"
    },
    {
      # Lists cannot be limited to names. Kiven reads only what its lists give of its own names, to find what nothing needs any more.
      Sid      = "ListRolesAndBuckets"
      Effect   = "Allow"
      Action   = ["iam:ListRoles", "s3:ListAllMyBuckets"]
      Resource = "*"
    },
    {
      # Asks IAM what this very role may do, so that everything missing is named at once.
      Sid      = "AskWhatThisRoleMayDo"
      Effect   = "Allow"
      Action   = ["iam:SimulatePrincipalPolicy"]
      Resource = "${local.iam}:role/${var.role_name}"
    },
    {
      Sid    = "ReadWhatTheModuleMade"
      Effect = "Allow"
      Action = ["iam:GetRole", "iam:ListAttachedRolePolicies"]
      Resource = [
        var.node_role_arn,
        # Where it is, and where IAM looks for it as long as it is not there.
        "${local.iam}:role/aws-service-role/eks-nodegroup.amazonaws.com/AWSServiceRoleForAmazonEKSNodegroup",
        "${local.iam}:role/AWSServiceRoleForAmazonEKSNodegroup",
      ]
    },
    {
      Sid      = "ReadBoundary"
      Effect   = "Allow"
      Action   = ["iam:GetPolicy"]
      Resource = var.boundary_arn
    },
  ]
}
