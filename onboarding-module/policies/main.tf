# The documents of the onboarding module, and nothing else: no provider is needed to read them, so that tests and
# `cargo xtask audit-iam` judge what is applied and not a copy.
terraform {
  required_version = ">= 1.8"
}

locals {
  iam     = "arn:${var.partition}:iam::${var.account_id}"
  eks     = "arn:${var.partition}:eks:${var.region}:${var.account_id}"
  ec2     = "arn:${var.partition}:ec2:${var.region}:${var.account_id}"
  buckets = "arn:${var.partition}:s3:::kiven-backups-${var.account_id}-${var.region}-*"

  cluster      = "${local.eks}:cluster/${var.eks_cluster_name}"
  node_groups  = "${local.eks}:nodegroup/${var.eks_cluster_name}/kiven-*/*"
  backup_roles = "${local.iam}:role/kiven-*-backup-*"

  # What Kiven makes carries its environment, and what carries another's is not touched.
  made_here = { StringEquals = { "aws:RequestTag/kiven:environment" = var.environment_id } }
  ours      = { StringEquals = { "aws:ResourceTag/kiven:environment" = var.environment_id } }
}

output "trust" {
  description = "Who may assume the role: Kiven, with the environment's external id, as this environment."
  value = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "KivenWithExternalId"
      Effect    = "Allow"
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Principal = { AWS = var.kiven_principal_arn }
      Condition = {
        StringEquals = {
          "sts:ExternalId"                   = var.external_id
          "aws:RequestTag/kiven:environment" = var.environment_id
        }
        "ForAllValues:StringEquals" = { "aws:TagKeys" = ["kiven:organization", "kiven:environment"] }
      }
    }]
  })
}

output "access" {
  description = "What the role may do."
  value       = jsonencode({ Version = "2012-10-17", Statement = concat(local.look, local.nodes, local.backups) })
}

output "boundary" {
  description = "The most that a role made by Kiven can do: objects in backup buckets and, through S3, their keys; never their versions."
  value = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid      = "BackupObjects"
          Effect   = "Allow"
          Action   = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
          Resource = "arn:${var.partition}:s3:::kiven-backups-${var.account_id}-*/*"
        },
        {
          Sid      = "BackupLists"
          Effect   = "Allow"
          Action   = ["s3:ListBucket"]
          Resource = "arn:${var.partition}:s3:::kiven-backups-${var.account_id}-*"
        },
      ],
      [{
        # Which of the account's keys is for each role's own policy to say. The boundary is there once for every cluster of the account,
        # so a key that only a later one uses is within it too; nothing is decrypted but through S3.
        Sid      = "BackupKeysThroughS3"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = "arn:${var.partition}:kms:*:${var.account_id}:key/*"
        Condition = {
          StringLike   = { "kms:ViaService" = "s3.*.${var.dns_suffix}" }
          StringEquals = { "kms:CallerAccount" = var.account_id }
        }
      }],
      [{
        Sid      = "NeverVersionsNorProtection"
        Effect   = "Deny"
        Action   = ["s3:BypassGovernanceRetention", "s3:DeleteBucket", "s3:DeleteBucketPolicy", "s3:DeleteObjectVersion", "s3:PutBucketPolicy", "s3:PutBucketVersioning", "s3:PutLifecycleConfiguration"]
        Resource = "*"
      }],
    )
  })
}

output "node_trust" {
  description = "Who may be a node."
  value = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Sid = "Nodes", Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ec2.${var.dns_suffix}" } }]
  })
}
