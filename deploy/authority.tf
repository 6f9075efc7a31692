# The authority of agents' and relays' certificates. Its key never leaves KMS, and only `enrol` may sign with it: its own policy
# denies that to everybody else, administrators included.
data "aws_iam_policy_document" "authority" {
  statement {
    sid       = "Administer"
    resources = ["*"]
    actions = [
      "kms:CancelKeyDeletion",
      "kms:CreateAlias",
      "kms:DeleteAlias",
      "kms:DescribeKey",
      "kms:DisableKey",
      "kms:EnableKey",
      "kms:GetKeyPolicy",
      "kms:GetKeyRotationStatus",
      "kms:List*",
      "kms:PutKeyPolicy",
      "kms:ScheduleKeyDeletion",
      "kms:TagResource",
      "kms:UntagResource",
      "kms:UpdateAlias",
      "kms:UpdateKeyDescription",
    ]

    principals {
      type        = "AWS"
      identifiers = ["arn:${local.partition}:iam::${local.account}:root"]
    }
  }

  statement {
    sid       = "Enrol"
    resources = ["*"]
    actions   = ["kms:GetPublicKey", "kms:Sign"]

    principals {
      type        = "AWS"
      identifiers = [aws_iam_role.function["enrol"].arn]
    }
  }

  statement {
    sid       = "NobodyElseSigns"
    effect    = "Deny"
    resources = ["*"]
    actions   = ["kms:CreateGrant", "kms:Sign"]

    principals {
      type        = "AWS"
      identifiers = ["*"]
    }

    condition {
      test     = "ArnNotEquals"
      variable = "aws:PrincipalArn"
      values   = [aws_iam_role.function["enrol"].arn]
    }
  }
}

resource "aws_kms_key" "authority" {
  description              = "${var.name}: the authority of agents' and relays' certificates"
  key_usage                = "SIGN_VERIFY"
  customer_master_key_spec = "ECC_NIST_P256"
  deletion_window_in_days  = var.protected ? 30 : 7
  policy                   = data.aws_iam_policy_document.authority.json
  tags                     = local.tags
}

resource "aws_kms_alias" "authority" {
  name          = "alias/${var.name}-authority"
  target_key_id = aws_kms_key.authority.key_id
}
