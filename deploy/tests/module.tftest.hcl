# The module without AWS: what it plans, under mock providers.
mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "999988887777" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
}

override_resource {
  target          = aws_lb.relay
  override_during = plan
  values          = { arn = "arn:aws:elasticloadbalancing:eu-west-1:999988887777:loadbalancer/net/kiven-relay/1", arn_suffix = "net/kiven-relay/1", dns_name = "kiven-relay.elb.eu-west-1.amazonaws.com" }
}

override_resource {
  target          = aws_apigatewayv2_api.this
  override_during = plan
  values          = { id = "abcdef1234", api_endpoint = "https://abcdef1234.execute-api.eu-west-1.amazonaws.com", execution_arn = "arn:aws:execute-api:eu-west-1:999988887777:abcdef1234" }
}

variables {
  packages = "tests/packages"
  zones    = ["eu-west-1a", "eu-west-1b"]
  relay    = { image = "registry.example.com/kiven-relay:1" }
}

run "two_relays_in_two_zones_without_a_nat_gateway" {
  command = plan

  assert {
    condition     = aws_ecs_service.relay.desired_count == 2 && length(aws_subnet.this) == 2
    error_message = "Two relays in two zones."
  }

  assert {
    condition     = aws_ecs_service.relay.network_configuration[0].assign_public_ip
    error_message = "Tasks have public addresses: there is no NAT gateway."
  }

  assert {
    condition     = aws_lb_listener.relay.protocol == "TCP"
    error_message = "Mutual TLS ends in the relay, not in the load balancer."
  }
}

run "the_truth_is_kept" {
  command = plan

  assert {
    condition     = aws_dynamodb_table.this.point_in_time_recovery[0].enabled && aws_dynamodb_table.this.deletion_protection_enabled
    error_message = "The table has point-in-time recovery and cannot be deleted."
  }

  assert {
    condition     = aws_dynamodb_table.this.ttl[0].attribute_name == "expires_at" && aws_dynamodb_table.this.ttl[0].enabled
    error_message = "Items expire by expires_at."
  }

  assert {
    condition     = !aws_s3_bucket.payloads.force_destroy && aws_kms_key.authority.deletion_window_in_days == 30
    error_message = "Payloads and the authority's key are protected."
  }

  assert {
    condition     = !aws_s3_bucket.metrics.force_destroy && aws_s3_bucket_lifecycle_configuration.metrics.rule[0].expiration[0].days == 90
    error_message = "Statistics are protected, and go when they are old."
  }
}

run "queues_are_as_lambda_asks" {
  command = plan

  assert {
    condition     = alltrue([for name, function in { doorbell = "worker", reports = "reports" } : aws_sqs_queue.this[name].visibility_timeout_seconds >= 6 * aws_lambda_function.this[function].timeout])
    error_message = "Visibility is at least six times the function's timeout."
  }

  assert {
    condition     = alltrue([for mapping in [aws_lambda_event_source_mapping.doorbell, aws_lambda_event_source_mapping.reports] : contains(mapping.function_response_types, "ReportBatchItemFailures")])
    error_message = "A failed message comes again, and its batch does not."
  }

  assert {
    condition     = length(aws_sqs_queue.dead) == length(aws_sqs_queue.this)
    error_message = "Each queue has one for what could not be handled."
  }
}

run "every_function_has_its_own_role_and_logs_that_end" {
  command = plan

  assert {
    condition     = toset([for role in aws_iam_role.function : role.name]) == toset(["kiven-api", "kiven-worker", "kiven-sweep", "kiven-reports", "kiven-enrol"])
    error_message = "One role for each function."
  }

  assert {
    condition     = alltrue([for group in concat(values(aws_cloudwatch_log_group.function), [aws_cloudwatch_log_group.access, aws_cloudwatch_log_group.relay]) : group.retention_in_days == 30])
    error_message = "Logs are kept for 30 days."
  }

  assert {
    condition     = aws_scheduler_schedule.sweep.schedule_expression == "rate(1 minute)"
    error_message = "The sweep runs every minute."
  }
}

run "only_enrol_signs" {
  command = plan

  assert {
    condition     = [for name, statements in local.rights : name if anytrue([for statement in statements : contains(statement.actions, "kms:Sign")])] == ["enrol"]
    error_message = "Only enrol may ask KMS for a signature."
  }

  assert {
    condition     = alltrue(flatten([for statements in values(local.rights) : [for statement in statements : [for action in statement.actions : !endswith(action, "*")]]]))
    error_message = "No right is a wildcard."
  }
}

run "one_relay_in_one_zone" {
  command = plan

  variables {
    zones = ["eu-west-1a"]
    relay = { image = "registry.example.com/kiven-relay:1", count = 1 }
  }

  assert {
    condition     = aws_ecs_service.relay.desired_count == 1 && aws_cloudwatch_metric_alarm.relay[0].threshold == 1
    error_message = "One relay, and an alarm when it is away."
  }
}

run "own_names" {
  command = plan

  variables {
    domain = { name = "kiven.example.com", zone_id = "Z1" }
  }

  override_resource {
    target          = aws_acm_certificate.api
    override_during = plan
    values = { arn = "arn:aws:acm:eu-west-1:999988887777:certificate/1", domain_validation_options = [{
      domain_name = "api.kiven.example.com", resource_record_name = "_x.api.kiven.example.com", resource_record_type = "CNAME", resource_record_value = "_y.acm-validations.aws"
    }] }
  }


  assert {
    condition     = output.api_url == "https://api.kiven.example.com" && output.relay_address == "relay.kiven.example.com:443"
    error_message = "The API is at api.NAME, the relay at relay.NAME."
  }

  assert {
    condition     = aws_apigatewayv2_api.this.disable_execute_api_endpoint
    error_message = "AWS's own name of the API is closed."
  }
}

run "a_key_is_never_given" {
  command = plan

  variables {
    organizations = { org_1 = { name = "x", api_key_id = "key_1", api_key_sha256 = "kiven_secret" } }
  }

  expect_failures = [var.organizations]
}
