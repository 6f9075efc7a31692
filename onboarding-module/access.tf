# The role that Kiven assumes: for 15 minutes at a time, with a session policy that narrows it further for each kind of step.
data "aws_iam_policy_document" "trust" {
  statement {
    sid     = "KivenWithExternalId"
    actions = ["sts:AssumeRole", "sts:TagSession"]

    principals {
      type        = "AWS"
      identifiers = [var.kiven_principal_arn]
    }

    condition {
      test     = "StringEquals"
      variable = "sts:ExternalId"
      values   = [var.external_id]
    }

    condition {
      test     = "ForAllValues:StringEquals"
      variable = "aws:TagKeys"
      values   = ["kiven:organization", "kiven:environment"]
    }
  }
}

resource "aws_iam_role" "access" {
  name                 = "kiven-access"
  description          = "Kiven operates databases in this account through this role"
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  max_session_duration = 3600
  tags                 = local.tags
}

resource "aws_iam_role_policy" "access" {
  name   = "kiven-access"
  role   = aws_iam_role.access.id
  policy = data.aws_iam_policy_document.access.json
}

data "aws_iam_policy_document" "access" {
  source_policy_documents = [
    data.aws_iam_policy_document.cluster.json,
    data.aws_iam_policy_document.inventory.json,
    data.aws_iam_policy_document.nodes.json,
    data.aws_iam_policy_document.backups.json,
  ]
}

data "aws_iam_policy_document" "cluster" {
  statement {
    sid       = "ReadCluster"
    actions   = ["eks:DescribeCluster"]
    resources = [data.aws_eks_cluster.this.arn]
  }

  statement {
    sid = "OidcProviderOfTheCluster"
    actions = [
      "iam:CreateOpenIDConnectProvider",
      "iam:GetOpenIDConnectProvider",
      "iam:TagOpenIDConnectProvider",
    ]
    resources = ["${local.iam}:oidc-provider/${local.oidc_host}"]
  }
}

# Lists cannot be limited to names. Kiven reads only what its lists give of its own names, to find what nothing needs any more.
data "aws_iam_policy_document" "inventory" {
  statement {
    sid       = "ListRolesAndBuckets"
    actions   = ["iam:ListRoles", "s3:ListAllMyBuckets"]
    resources = ["*"]
  }
}

data "aws_iam_policy_document" "nodes" {
  statement {
    sid       = "MakeNodeGroups"
    actions   = ["eks:CreateNodegroup", "eks:ListNodegroups"]
    resources = [data.aws_eks_cluster.this.arn]
  }

  statement {
    sid = "OperateOwnNodeGroups"
    actions = [
      "eks:DeleteNodegroup",
      "eks:DescribeNodegroup",
      "eks:DescribeUpdate",
      "eks:ListUpdates",
      "eks:TagResource",
      "eks:UpdateNodegroupConfig",
      "eks:UpdateNodegroupVersion",
    ]
    resources = ["${local.eks}:nodegroup/${var.eks_cluster_name}/kiven-*/*"]
  }

  # EKS tries the launch template with the caller's rights before it makes a group.
  statement {
    sid       = "StartNodesFromTheTemplate"
    actions   = ["ec2:RunInstances"]
    resources = ["*"]

    condition {
      test     = "ArnEquals"
      variable = "ec2:LaunchTemplate"
      values   = [aws_launch_template.nodes.arn]
    }
  }

  statement {
    sid       = "TagNodesAtStart"
    actions   = ["ec2:CreateTags"]
    resources = ["${local.ec2}:instance/*", "${local.ec2}:volume/*", "${local.ec2}:network-interface/*"]

    condition {
      test     = "StringEquals"
      variable = "ec2:CreateAction"
      values   = ["RunInstances"]
    }
  }

  # These calls know no resource.
  statement {
    sid = "LookAtTheNetwork"
    actions = [
      "ec2:DescribeInstanceTypes",
      "ec2:DescribeLaunchTemplateVersions",
      "ec2:DescribeLaunchTemplates",
      "ec2:DescribeSecurityGroups",
      "ec2:DescribeSubnets",
      "ec2:DescribeVpcs",
    ]
    resources = ["*"]
  }

  statement {
    sid       = "ReadNodeRole"
    actions   = ["iam:GetRole", "iam:ListAttachedRolePolicies"]
    resources = [aws_iam_role.node.arn]
  }

  statement {
    sid       = "PassNodeRole"
    actions   = ["iam:PassRole"]
    resources = [aws_iam_role.node.arn]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["eks.amazonaws.com", "ec2.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "backups" {
  # Nothing here deletes: no object, no version, no bucket.
  statement {
    sid = "MakeBackupBucket"
    actions = [
      "s3:CreateBucket",
      "s3:GetBucketPolicy",
      "s3:GetBucketPublicAccessBlock",
      "s3:GetBucketTagging",
      "s3:GetBucketVersioning",
      "s3:GetEncryptionConfiguration",
      "s3:GetLifecycleConfiguration",
      "s3:ListBucket",
      "s3:PutBucketPolicy",
      "s3:PutBucketPublicAccessBlock",
      "s3:PutBucketTagging",
      "s3:PutBucketVersioning",
      "s3:PutEncryptionConfiguration",
      "s3:PutLifecycleConfiguration",
      "s3:TagResource",
    ]
    resources = [local.buckets]
  }

  # What gives a role rights is allowed inside the boundary only.
  statement {
    sid       = "GiveBackupRolesRightsWithinTheBoundary"
    actions   = ["iam:CreateRole", "iam:PutRolePolicy"]
    resources = ["${local.iam}:role/kiven-*-backup-*"]

    condition {
      test     = "StringEquals"
      variable = "iam:PermissionsBoundary"
      values   = [aws_iam_policy.boundary.arn]
    }
  }

  statement {
    sid = "OperateBackupRoles"
    actions = [
      "iam:DeleteRole",
      "iam:DeleteRolePolicy",
      "iam:GetRole",
      "iam:GetRolePolicy",
      "iam:TagRole",
      "iam:UpdateAssumeRolePolicy",
    ]
    resources = ["${local.iam}:role/kiven-*-backup-*"]
  }
}

# The most that a role made by Kiven can do: objects in backup buckets. Versions stay out of its reach.
data "aws_iam_policy_document" "boundary" {
  statement {
    sid       = "BackupObjects"
    actions   = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
    resources = ["${local.buckets}/*"]
  }

  statement {
    sid       = "BackupLists"
    actions   = ["s3:ListBucket"]
    resources = [local.buckets]
  }
}

resource "aws_iam_policy" "boundary" {
  name        = "kiven-boundary"
  description = "The most that a role made by Kiven can do"
  policy      = data.aws_iam_policy_document.boundary.json
  tags        = local.tags
}
