# Kiven's own side on AWS: one table is the truth, queues are hints, functions do the work, a relay holds the agents' streams.
data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

data "aws_region" "this" {}

locals {
  account   = data.aws_caller_identity.this.account_id
  partition = data.aws_partition.this.partition
  region    = data.aws_region.this.name

  # The role that customers' roles trust, by name: functions are told of it, and it trusts their roles.
  principal_arn = "arn:${local.partition}:iam::${local.account}:role/${var.name}-principal"

  api_host   = var.domain == null ? null : "api.${var.domain.name}"
  relay_host = var.domain == null ? aws_lb.relay.dns_name : "relay.${var.domain.name}"
  api_url    = var.domain == null ? aws_apigatewayv2_api.this.api_endpoint : "https://${local.api_host}"

  tags = merge({ "kiven:module" = "deploy", "kiven:installation" = var.name }, var.tags)
}
