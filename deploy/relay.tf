# The relay on Fargate behind a network load balancer, which passes TCP on: agents' mutual TLS ends in the relay. Tasks have public
# addresses and no NAT gateway; their security group lets in the load balancer and nobody else.

locals {
  relay_port        = 8443
  relay_health_port = 8444
}

resource "aws_vpc" "this" {
  cidr_block           = var.network_cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = merge(local.tags, { Name = var.name })
}

resource "aws_subnet" "this" {
  for_each = toset(var.zones)

  vpc_id            = aws_vpc.this.id
  availability_zone = each.key
  cidr_block        = cidrsubnet(var.network_cidr, 2, index(var.zones, each.key))
  tags              = merge(local.tags, { Name = "${var.name}-${each.key}" })
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id
  tags   = merge(local.tags, { Name = var.name })
}

resource "aws_route_table" "this" {
  vpc_id = aws_vpc.this.id
  tags   = merge(local.tags, { Name = var.name })
}

resource "aws_route" "internet" {
  route_table_id         = aws_route_table.this.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route_table_association" "this" {
  for_each = aws_subnet.this

  subnet_id      = each.value.id
  route_table_id = aws_route_table.this.id
}

# Free, and the table's traffic stays inside AWS.
resource "aws_vpc_endpoint" "this" {
  for_each = toset(["dynamodb", "s3"])

  vpc_id            = aws_vpc.this.id
  service_name      = "com.amazonaws.${local.region}.${each.key}"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.this.id]
  tags              = merge(local.tags, { Name = "${var.name}-${each.key}" })
}

resource "aws_security_group" "balancer" {
  name        = "${var.name}-relay-balancer"
  description = "Agents reach the relay from anywhere; they show a certificate"
  vpc_id      = aws_vpc.this.id
  tags        = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "agents" {
  security_group_id = aws_security_group.balancer.id
  description       = "Agents"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "balancer" {
  security_group_id            = aws_security_group.balancer.id
  description                  = "The relay"
  referenced_security_group_id = aws_security_group.relay.id
  ip_protocol                  = "tcp"
  from_port                    = local.relay_port
  to_port                      = local.relay_port
}

resource "aws_vpc_security_group_egress_rule" "balancer_health" {
  security_group_id            = aws_security_group.balancer.id
  description                  = "Whether the relay takes sessions"
  referenced_security_group_id = aws_security_group.relay.id
  ip_protocol                  = "tcp"
  from_port                    = local.relay_health_port
  to_port                      = local.relay_health_port
}

resource "aws_security_group" "relay" {
  name        = "${var.name}-relay"
  description = "Only the load balancer gets in"
  vpc_id      = aws_vpc.this.id
  tags        = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "relay" {
  security_group_id            = aws_security_group.relay.id
  description                  = "The load balancer"
  referenced_security_group_id = aws_security_group.balancer.id
  ip_protocol                  = "tcp"
  from_port                    = local.relay_port
  to_port                      = local.relay_port
}

resource "aws_vpc_security_group_ingress_rule" "relay_health" {
  security_group_id            = aws_security_group.relay.id
  description                  = "The load balancer asks whether it takes sessions"
  referenced_security_group_id = aws_security_group.balancer.id
  ip_protocol                  = "tcp"
  from_port                    = local.relay_health_port
  to_port                      = local.relay_health_port
}

resource "aws_vpc_security_group_egress_rule" "relay" {
  security_group_id = aws_security_group.relay.id
  description       = "AWS's endpoints"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_lb" "relay" {
  name                             = "${var.name}-relay"
  load_balancer_type               = "network"
  internal                         = false
  subnets                          = [for zone in var.zones : aws_subnet.this[zone].id]
  security_groups                  = [aws_security_group.balancer.id]
  enable_cross_zone_load_balancing = true
  enable_deletion_protection       = var.protected
  tags                             = local.tags

  depends_on = [aws_route.internet]
}

resource "aws_lb_target_group" "relay" {
  name        = "${var.name}-relay"
  vpc_id      = aws_vpc.this.id
  target_type = "ip"
  protocol    = "TCP"
  port        = local.relay_port
  # Longer than a relay takes to send its agents to another one.
  deregistration_delay   = 20
  connection_termination = true
  preserve_client_ip     = false
  tags                   = local.tags

  health_check {
    protocol            = "HTTP"
    port                = local.relay_health_port
    path                = "/readyz"
    interval            = 10
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "relay" {
  load_balancer_arn = aws_lb.relay.arn
  port              = 443
  protocol          = "TCP"
  tags              = local.tags

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.relay.arn
  }
}

resource "aws_route53_record" "relay" {
  count = var.domain == null ? 0 : 1

  zone_id = var.domain.zone_id
  name    = local.relay_host
  type    = "A"

  alias {
    name                   = aws_lb.relay.dns_name
    zone_id                = aws_lb.relay.zone_id
    evaluate_target_health = true
  }
}

resource "aws_cloudwatch_log_group" "relay" {
  name              = "/ecs/${var.name}-relay"
  retention_in_days = var.log_retention_days
  tags              = local.tags
}

locals {
  # Also an output: a relay that runs elsewhere takes the same.
  relay_environment = merge(local.store, {
    AWS_REGION                = local.region
    KIVEN_RELAY_LISTEN        = "0.0.0.0:${local.relay_port}"
    KIVEN_RELAY_HEALTH_LISTEN = "0.0.0.0:${local.relay_health_port}"
    KIVEN_REPORTS_URL         = aws_sqs_queue.this["reports"].url
    KIVEN_ENROL_FUNCTION      = aws_lambda_function.this["enrol"].function_name
  })
}

resource "aws_ecs_cluster" "this" {
  name = var.name
  tags = local.tags

  # Container Insights costs more than the tasks; the alarms below need none of it.
  setting {
    name  = "containerInsights"
    value = "disabled"
  }
}

resource "aws_ecs_task_definition" "relay" {
  family                   = "${var.name}-relay"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.relay.cpu
  memory                   = var.relay.memory
  execution_role_arn       = aws_iam_role.relay_start.arn
  task_role_arn            = aws_iam_role.relay.arn
  tags                     = local.tags

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture == "arm64" ? "ARM64" : "X86_64"
  }

  container_definitions = jsonencode([{
    name                   = "relay"
    image                  = var.relay.image
    essential              = true
    readonlyRootFilesystem = true
    stopTimeout            = 30
    portMappings           = [{ containerPort = local.relay_port, protocol = "tcp" }]
    environment            = [for name in sort(keys(local.relay_environment)) : { name = name, value = local.relay_environment[name] }]
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.relay.name
        awslogs-region        = local.region
        awslogs-stream-prefix = "relay"
      }
    }
  }])
}

resource "aws_ecs_service" "relay" {
  name                               = "relay"
  cluster                            = aws_ecs_cluster.this.id
  task_definition                    = aws_ecs_task_definition.relay.arn
  desired_count                      = var.relay.count
  launch_type                        = "FARGATE"
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  tags                               = local.tags

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = [for zone in var.zones : aws_subnet.this[zone].id]
    security_groups  = [aws_security_group.relay.id]
    assign_public_ip = true
  }

  load_balancer {
    target_group_arn = aws_lb_target_group.relay.arn
    container_name   = "relay"
    container_port   = local.relay_port
  }

  depends_on = [aws_lb_listener.relay, aws_iam_role_policy.relay, aws_iam_role_policy.relay_start, aws_lambda_function.this]
}

data "aws_iam_policy_document" "task_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }
}

# What the relay may do: hand commands over, leave reports in the queue, ask for its certificate.
resource "aws_iam_role" "relay" {
  name               = "${var.name}-relay"
  description        = "Kiven's relay"
  assume_role_policy = data.aws_iam_policy_document.task_trust.json
  tags               = local.tags
}

data "aws_iam_policy_document" "relay" {
  # Commands, the list of those that wait and who serves an agent, and nothing else of the table: that a command was handed over is put
  # in one transaction.
  statement {
    sid       = "Commands"
    actions   = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:ConditionCheckItem", "dynamodb:Query"]
    resources = [local.table]

    condition {
      test     = "ForAllValues:StringLike"
      variable = "dynamodb:LeadingKeys"
      values   = ["CMD#*", "CMDS#*"]
    }
  }

  # Which agents have commands that wait.
  statement {
    sid       = "Called"
    actions   = ["dynamodb:Query"]
    resources = ["${local.table}/index/due"]

    condition {
      test     = "ForAllValues:StringLike"
      variable = "dynamodb:LeadingKeys"
      values   = ["DUE#COMMAND#*"]
    }
  }

  # A large command is put again with it.
  statement {
    sid       = "Payloads"
    actions   = ["s3:GetObject", "s3:PutObject"]
    resources = [local.objects]
  }

  statement {
    sid       = "Reports"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.this["reports"].arn]
  }

  statement {
    sid       = "Certificate"
    actions   = ["lambda:InvokeFunction"]
    resources = [aws_lambda_function.this["enrol"].arn]
  }
}

resource "aws_iam_role_policy" "relay" {
  name   = "kiven"
  role   = aws_iam_role.relay.id
  policy = data.aws_iam_policy_document.relay.json
}

# What ECS may do to start it.
resource "aws_iam_role" "relay_start" {
  name               = "${var.name}-relay-start"
  description        = "ECS starts Kiven's relay"
  assume_role_policy = data.aws_iam_policy_document.task_trust.json
  tags               = local.tags
}

data "aws_iam_policy_document" "relay_start" {
  statement {
    sid       = "Logs"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.relay.arn}:*"]
  }

  statement {
    sid       = "RegistryToken"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }

  statement {
    sid       = "Image"
    actions   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    resources = ["arn:${local.partition}:ecr:${local.region}:${local.account}:repository/*"]
  }
}

resource "aws_iam_role_policy" "relay_start" {
  name   = "kiven"
  role   = aws_iam_role.relay_start.id
  policy = data.aws_iam_policy_document.relay_start.json
}
