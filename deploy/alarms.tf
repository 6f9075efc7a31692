# An alarm for each promise that something measures, and for what would break one. README.md has the table.
locals {
  namespace = "Kiven/${var.name}"

  # One metric each. `missing` says what silence means.
  alarms = {
    provisioning_slow = {
      text      = "A provisioning has taken more than 15 minutes; the promise is 10."
      namespace = local.namespace, metric = "OperationAgeSeconds", dimensions = { Kind = "provision" }
      statistic = "Maximum", period = 60, periods = 1, above = 900
    }
    operation_stuck = {
      text      = "An operation can go neither forward nor back: docs/runbooks/stuck-operation.md."
      namespace = local.namespace, metric = "OperationsEnded", dimensions = { Outcome = "stuck" }
      statistic = "Sum", period = 60, periods = 1, above = 0
    }
    database_down = {
      text      = "A database that should run has had no instance that answers for 2 minutes; the promise for a node's failure is 2 minutes."
      namespace = local.namespace, metric = "DatabasesDown", dimensions = {}
      statistic = "Maximum", period = 60, periods = 2, above = 0
    }
    archive_stopped = {
      text      = "A database's WAL has not been archived for 5 minutes: what it may lose grows beyond the default of 5 minutes."
      namespace = local.namespace, metric = "DatabasesUnarchived", dimensions = {}
      statistic = "Maximum", period = 60, periods = 5, above = 0
    }
    agents_away = {
      text      = "Agents came back after more than 30 seconds on average over 10 minutes."
      namespace = local.namespace, metric = "AgentAwaySeconds", dimensions = {}
      statistic = "Average", period = 300, periods = 2, above = 30
    }
    doorbell_late = {
      text      = "Rings wait for more than 2 minutes: operations stand still."
      namespace = "AWS/SQS", metric = "ApproximateAgeOfOldestMessage", dimensions = { QueueName = aws_sqs_queue.this["doorbell"].name }
      statistic = "Maximum", period = 60, periods = 3, above = 120
    }
    reports_late = {
      text      = "What agents said waits for more than a minute."
      namespace = "AWS/SQS", metric = "ApproximateAgeOfOldestMessage", dimensions = { QueueName = aws_sqs_queue.this["reports"].name }
      statistic = "Maximum", period = 60, periods = 3, above = 60
    }
    doorbell_dead = {
      text      = "A ring could not be answered five times. The sweep has rung again; look at why."
      namespace = "AWS/SQS", metric = "ApproximateNumberOfMessagesVisible", dimensions = { QueueName = aws_sqs_queue.dead["doorbell"].name }
      statistic = "Maximum", period = 300, periods = 1, above = 0
    }
    reports_dead = {
      text      = "Something that an agent said could not be recorded."
      namespace = "AWS/SQS", metric = "ApproximateNumberOfMessagesVisible", dimensions = { QueueName = aws_sqs_queue.dead["reports"].name }
      statistic = "Maximum", period = 300, periods = 1, above = 0
    }
    aws_throttles = {
      text      = "AWS throttles Kiven's calls."
      namespace = local.namespace, metric = "AwsThrottles", dimensions = {}
      statistic = "Sum", period = 300, periods = 2, above = 50
    }
    api_p50 = {
      text      = "Half of the API's answers take more than 50 ms."
      namespace = "AWS/ApiGateway", metric = "Latency", dimensions = { ApiId = aws_apigatewayv2_api.this.id }
      statistic = "p50", period = 300, periods = 3, above = 50
    }
    api_p95 = {
      text      = "One in twenty of the API's answers takes more than 100 ms."
      namespace = "AWS/ApiGateway", metric = "Latency", dimensions = { ApiId = aws_apigatewayv2_api.this.id }
      statistic = "p95", period = 300, periods = 3, above = 100
    }
    api_p99 = {
      text      = "One in a hundred of the API's answers takes more than 200 ms."
      namespace = "AWS/ApiGateway", metric = "Latency", dimensions = { ApiId = aws_apigatewayv2_api.this.id }
      statistic = "p99", period = 300, periods = 3, above = 200
    }
  }

  # Shares of one metric in another, in percent.
  shares = {
    provisioning_fails = {
      text = "Of the last day's provisionings more than 0.5 % did not succeed."
      bad  = { namespace = local.namespace, metric = "ProvisionsFailed", dimensions = {} }
      all  = { namespace = local.namespace, metric = "ProvisionsEnded", dimensions = {} }
      # A day's one failure among few says little: it is told, by operation_stuck or to the customer.
      period = 86400, above = 0.5
    }
    api_errors = {
      text   = "More than 0.1 % of the API's answers are errors of ours: with this, 99.9 % cannot be held."
      bad    = { namespace = "AWS/ApiGateway", metric = "5xx", dimensions = { ApiId = aws_apigatewayv2_api.this.id } }
      all    = { namespace = "AWS/ApiGateway", metric = "Count", dimensions = { ApiId = aws_apigatewayv2_api.this.id } }
      period = 300, above = 0.1
    }
    reports_lost = {
      text   = "More than 0.1 % of what agents had to say was dropped: the promise is 99.9 % delivered."
      bad    = { namespace = local.namespace, metric = "ReportsDropped", dimensions = {} }
      all    = { namespace = local.namespace, metric = "Reports", dimensions = {} }
      period = 3600, above = 0.1
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.name}-${replace(each.key, "_", "-")}"
  alarm_description   = each.value.text
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = startswith(each.value.statistic, "p") ? null : each.value.statistic
  extended_statistic  = startswith(each.value.statistic, "p") ? each.value.statistic : null
  period              = each.value.period
  evaluation_periods  = each.value.periods
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.above
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = local.tags
}

resource "aws_cloudwatch_metric_alarm" "share" {
  for_each = local.shares

  alarm_name          = "${var.name}-${replace(each.key, "_", "-")}"
  alarm_description   = each.value.text
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.above
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = local.tags

  metric_query {
    id          = "share"
    expression  = "100 * FILL(bad, 0) / all"
    label       = "percent"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = { bad = each.value.bad, all = each.value.all }

    content {
      id = metric_query.key

      metric {
        namespace   = metric_query.value.namespace
        metric_name = metric_query.value.metric
        dimensions  = metric_query.value.dimensions
        period      = each.value.period
        stat        = "Sum"
      }
    }
  }
}

# Nobody rings for what is due while the sweep is silent.
resource "aws_cloudwatch_metric_alarm" "sweep_silent" {
  alarm_name          = "${var.name}-sweep-silent"
  alarm_description   = "The sweep has not run for 5 minutes: what is due is not rung for."
  namespace           = "AWS/Lambda"
  metric_name         = "Invocations"
  dimensions          = { FunctionName = aws_lambda_function.this["sweep"].function_name }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  treat_missing_data  = "breaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = local.tags
}

# One alarm over all functions: which one it was is in the logs.
resource "aws_cloudwatch_metric_alarm" "functions" {
  for_each = { errors = "Errors", throttled = "Throttles" }

  alarm_name          = "${var.name}-functions-${each.key}"
  alarm_description   = each.key == "errors" ? "A function failed as a whole in each of three periods of 5 minutes." : "Functions are throttled: the account's concurrency is used up."
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = local.tags

  metric_query {
    id          = "total"
    expression  = "SUM(METRICS())"
    label       = each.value
    return_data = true
  }

  dynamic "metric_query" {
    for_each = local.names

    content {
      id = metric_query.key

      metric {
        namespace   = "AWS/Lambda"
        metric_name = each.value
        dimensions  = { FunctionName = aws_lambda_function.this[metric_query.key].function_name }
        period      = 300
        stat        = "Sum"
      }
    }
  }
}

# Agents have nowhere to come back to.
resource "aws_cloudwatch_metric_alarm" "relay" {
  count = var.relay.count > 0 ? 1 : 0

  alarm_name          = "${var.name}-relay-away"
  alarm_description   = "Fewer relays answer than should: agents reconnect to those that are left, with none left commands wait."
  namespace           = "AWS/NetworkELB"
  metric_name         = "HealthyHostCount"
  dimensions          = { LoadBalancer = aws_lb.relay.arn_suffix, TargetGroup = aws_lb_target_group.relay.arn_suffix }
  statistic           = "Minimum"
  period              = 60
  evaluation_periods  = 3
  comparison_operator = "LessThanThreshold"
  threshold           = var.relay.count
  treat_missing_data  = "breaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = local.tags
}
