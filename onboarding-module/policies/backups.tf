# Backups: one bucket and the roles of generations. Nothing here deletes an object, a version or a bucket.
locals {
  backups = [
    {
      Sid    = "MakeBackupBucket"
      Effect = "Allow"
      Action = [
        "s3:CreateBucket",
        "s3:GetBucketPolicy",
        "s3:GetBucketTagging",
        "s3:ListBucket",
        "s3:PutBucketPolicy",
        "s3:PutBucketPublicAccessBlock",
        "s3:PutBucketVersioning",
        "s3:PutEncryptionConfiguration",
        "s3:PutLifecycleConfiguration",
        "s3:TagResource",
      ]
      Resource = local.buckets
    },
    {
      # What gives a role rights is allowed inside the boundary only.
      Sid      = "MakeBackupRolesWithinTheBoundary"
      Effect   = "Allow"
      Action   = ["iam:CreateRole"]
      Resource = local.backup_roles
      Condition = {
        StringEquals = {
          "iam:PermissionsBoundary"          = var.boundary_arn
          "aws:RequestTag/kiven:environment" = var.environment_id
        }
      }
    },
    {
      Sid       = "TagBackupRolesAtBirth"
      Effect    = "Allow"
      Action    = ["iam:TagRole"]
      Resource  = local.backup_roles
      Condition = local.made_here
    },
    {
      Sid      = "GiveBackupRolesRightsWithinTheBoundary"
      Effect   = "Allow"
      Action   = ["iam:PutRolePolicy"]
      Resource = local.backup_roles
      Condition = {
        StringEquals = {
          "iam:PermissionsBoundary"           = var.boundary_arn
          "aws:ResourceTag/kiven:environment" = var.environment_id
        }
      }
    },
    {
      Sid      = "LookAtBackupRoles"
      Effect   = "Allow"
      Action   = ["iam:GetRole"]
      Resource = local.backup_roles
    },
    {
      Sid       = "ChangeOwnBackupRoles"
      Effect    = "Allow"
      Action    = ["iam:DeleteRole", "iam:DeleteRolePolicy", "iam:UpdateAssumeRolePolicy"]
      Resource  = local.backup_roles
      Condition = local.ours
    },
  ]
}
