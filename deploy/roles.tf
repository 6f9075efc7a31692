# One role for each function, with the calls that its code makes on the things that it makes them on.
data "aws_iam_policy_document" "lambda_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "function" {
  for_each = local.names

  name               = "${var.name}-${each.key}"
  description        = "Kiven's function ${each.key}"
  assume_role_policy = data.aws_iam_policy_document.lambda_trust.json
  tags               = local.tags
}

locals {
  table   = aws_dynamodb_table.this.arn
  objects = "${aws_s3_bucket.payloads.arn}/*"

  # A transaction is allowed by what is in it.
  record = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:ConditionCheckItem", "dynamodb:Query"]

  rights = {
    api = [
      { sid = "Records", actions = local.record, resources = [local.table, "${local.table}/index/owned"] },
      { sid = "Payloads", actions = ["s3:GetObject", "s3:PutObject"], resources = [local.objects] },
      { sid = "Ring", actions = ["sqs:SendMessage"], resources = [aws_sqs_queue.this["doorbell"].arn] },
      { sid = "Principal", actions = ["sts:AssumeRole"], resources = [local.principal_arn] },
    ]
    worker = [
      { sid = "Records", actions = local.record, resources = [local.table, "${local.table}/index/owned"] },
      { sid = "Payloads", actions = ["s3:GetObject", "s3:PutObject"], resources = [local.objects] },
      { sid = "Ring", actions = ["sqs:SendMessage"], resources = [aws_sqs_queue.this["doorbell"].arn] },
      { sid = "Answer", actions = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"], resources = [aws_sqs_queue.this["doorbell"].arn] },
      { sid = "Principal", actions = ["sts:AssumeRole"], resources = [local.principal_arn] },
    ]
    sweep = [
      { sid = "Due", actions = ["dynamodb:Query"], resources = ["${local.table}/index/due"] },
      { sid = "Ring", actions = ["sqs:SendMessage"], resources = [aws_sqs_queue.this["doorbell"].arn] },
    ]
    reports = [
      { sid = "Records", actions = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:Query"], resources = [local.table] },
      { sid = "Payloads", actions = ["s3:GetObject", "s3:PutObject"], resources = [local.objects] },
      { sid = "Ring", actions = ["sqs:SendMessage"], resources = [aws_sqs_queue.this["doorbell"].arn] },
      { sid = "Take", actions = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"], resources = [aws_sqs_queue.this["reports"].arn] },
    ]
    enrol = [
      { sid = "Environment", actions = ["dynamodb:GetItem"], resources = [local.table] },
      # Single-use tokens of agents, which stand in partitions of their own; nothing else of the table can be written.
      { sid = "Tokens", actions = ["dynamodb:PutItem", "dynamodb:DeleteItem"], resources = [local.table], partitions = ["AGENT_TOKENS#*"] },
      { sid = "Payloads", actions = ["s3:GetObject"], resources = [local.objects] },
      { sid = "Sign", actions = ["kms:Sign", "kms:GetPublicKey"], resources = [aws_kms_key.authority.arn] },
      { sid = "Principal", actions = ["sts:AssumeRole"], resources = [local.principal_arn] },
    ]
  }
}

data "aws_iam_policy_document" "function" {
  for_each = local.rights

  dynamic "statement" {
    for_each = each.value

    content {
      sid       = statement.value.sid
      actions   = statement.value.actions
      resources = statement.value.resources

      dynamic "condition" {
        for_each = try([statement.value.partitions], [])

        content {
          test     = "ForAllValues:StringLike"
          variable = "dynamodb:LeadingKeys"
          values   = condition.value
        }
      }
    }
  }

  statement {
    sid       = "Logs"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.function[each.key].arn}:*"]
  }
}

resource "aws_iam_role_policy" "function" {
  for_each = local.rights

  name   = "kiven"
  role   = aws_iam_role.function[each.key].id
  policy = data.aws_iam_policy_document.function[each.key].json
}

# The one principal that customers' roles trust. Only these functions become it, and all it can do is to assume customers' roles.
locals {
  go_to_customers = ["api", "worker", "enrol"]
}

data "aws_iam_policy_document" "principal_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "AWS"
      identifiers = [for name in local.go_to_customers : aws_iam_role.function[name].arn]
    }
  }
}

resource "aws_iam_role" "principal" {
  name               = "${var.name}-principal"
  description        = "Who Kiven is in customers' accounts"
  assume_role_policy = data.aws_iam_policy_document.principal_trust.json
  tags               = local.tags
}

data "aws_iam_policy_document" "principal" {
  statement {
    sid       = "CustomersRoles"
    actions   = ["sts:AssumeRole", "sts:TagSession"]
    resources = ["arn:${local.partition}:iam::*:role/kiven-access*"]
  }
}

resource "aws_iam_role_policy" "principal" {
  name   = "kiven"
  role   = aws_iam_role.principal.id
  policy = data.aws_iam_policy_document.principal.json
}

data "aws_iam_policy_document" "scheduler_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["scheduler.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }
}

resource "aws_iam_role" "scheduler" {
  name               = "${var.name}-scheduler"
  description        = "Starts Kiven's sweep"
  assume_role_policy = data.aws_iam_policy_document.scheduler_trust.json
  tags               = local.tags
}

data "aws_iam_policy_document" "scheduler" {
  statement {
    sid       = "Sweep"
    actions   = ["lambda:InvokeFunction"]
    resources = [aws_lambda_function.this["sweep"].arn]
  }
}

resource "aws_iam_role_policy" "scheduler" {
  name   = "kiven"
  role   = aws_iam_role.scheduler.id
  policy = data.aws_iam_policy_document.scheduler.json
}
