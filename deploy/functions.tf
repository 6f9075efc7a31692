# The functions. Each has a role of its own (roles.tf) and is told what it needs and no more.
locals {
  names = toset(["api", "worker", "sweep", "reports", "enrol"])

  store = {
    KIVEN_TABLE          = aws_dynamodb_table.this.name
    KIVEN_PAYLOAD_BUCKET = aws_s3_bucket.payloads.bucket
  }
  doorbell  = { KIVEN_DOORBELL_URL = aws_sqs_queue.this["doorbell"].url }
  principal = { KIVEN_PRINCIPAL_ARN = local.principal_arn, KIVEN_ASSUME_PRINCIPAL = "true" }
  relay_at  = { KIVEN_RELAY_ADDRESS = "${local.relay_host}:443" }
  traces    = var.otlp_endpoint == null ? {} : { KIVEN_OTLP_ENDPOINT = var.otlp_endpoint }

  # Memory buys CPU: these are several times what a function holds.
  functions = {
    api = {
      memory_mb       = 512
      timeout_seconds = 10
      environment     = merge(local.store, local.doorbell, local.principal, local.relay_at, { KIVEN_AGENT_API_URL = local.api_url })
    }
    worker = {
      memory_mb       = 512
      timeout_seconds = 60
      environment     = merge(local.store, local.doorbell, local.principal)
    }
    sweep = {
      memory_mb       = 256
      timeout_seconds = 50
      environment     = merge(local.store, local.doorbell)
    }
    reports = {
      memory_mb       = 256
      timeout_seconds = 10
      environment     = merge(local.store, local.doorbell)
    }
    enrol = {
      memory_mb       = 256
      timeout_seconds = 10
      environment     = merge(local.store, local.principal, local.relay_at, { KIVEN_CA_KEY_ID = aws_kms_key.authority.arn })
    }
  }

  package = { for name in local.names : name => "${var.packages}/lambda-${name}-${var.architecture}.zip" }
}

resource "aws_lambda_function" "this" {
  for_each = local.functions

  function_name    = "${var.name}-${each.key}"
  role             = aws_iam_role.function[each.key].arn
  filename         = local.package[each.key]
  source_code_hash = filebase64sha256(local.package[each.key])
  runtime          = "provided.al2023"
  handler          = "bootstrap"
  architectures    = [var.architecture]
  memory_size      = each.value.memory_mb
  timeout          = each.value.timeout_seconds
  tags             = local.tags

  environment {
    variables = merge(each.value.environment, local.traces, { KIVEN_METRICS_NAMESPACE = local.namespace })
  }

  logging_config {
    log_format = "Text"
    log_group  = aws_cloudwatch_log_group.function[each.key].name
  }

  # A function that starts without its rights fails for minutes.
  depends_on = [aws_iam_role_policy.function]
}

# Functions write JSON themselves, so the format is "Text": Lambda would wrap it once more and hide the embedded metrics.
resource "aws_cloudwatch_log_group" "function" {
  for_each = local.names

  name              = "/aws/lambda/${var.name}-${each.key}"
  retention_in_days = var.log_retention_days
  tags              = local.tags
}

resource "aws_lambda_event_source_mapping" "doorbell" {
  event_source_arn        = aws_sqs_queue.this["doorbell"].arn
  function_name           = aws_lambda_function.this["worker"].arn
  batch_size              = 1
  function_response_types = ["ReportBatchItemFailures"]

  scaling_config {
    maximum_concurrency = var.worker_concurrency_max
  }
}

resource "aws_lambda_event_source_mapping" "reports" {
  event_source_arn        = aws_sqs_queue.this["reports"].arn
  function_name           = aws_lambda_function.this["reports"].arn
  batch_size              = 10
  function_response_types = ["ReportBatchItemFailures"]

  scaling_config {
    maximum_concurrency = 50
  }
}

# Every minute: what is due is rung for again, and waits beyond SQS's 15 minutes are carried.
resource "aws_scheduler_schedule" "sweep" {
  name                = "${var.name}-sweep"
  description         = "Rings again for everything that is due"
  schedule_expression = "rate(1 minute)"

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_lambda_function.this["sweep"].arn
    role_arn = aws_iam_role.scheduler.arn

    # The next one comes in a minute anyway.
    retry_policy {
      maximum_event_age_in_seconds = 60
      maximum_retry_attempts       = 0
    }
  }
}
