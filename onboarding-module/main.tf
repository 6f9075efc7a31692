# What Kiven needs in an AWS account: a role to assume, a role and a launch template for its nodes, and a boundary that no role
# made by Kiven can leave.
data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

data "aws_region" "this" {}

data "aws_eks_cluster" "this" {
  name = var.eks_cluster_name
}

data "aws_subnet" "this" {
  for_each = toset(var.subnet_ids)

  id = each.value
}

locals {
  account   = data.aws_caller_identity.this.account_id
  partition = data.aws_partition.this.partition
  region    = data.aws_region.this.name
  iam       = "arn:${local.partition}:iam::${local.account}"

  # Kiven knows these two by their names, so they are there once in an account.
  node_role = "kiven-node"
  boundary  = "kiven-boundary"

  # Grouped, so that two subnets of one zone are found before they get lost in a map.
  subnets_by_zone = { for subnet in data.aws_subnet.this : subnet.availability_zone => subnet.id... }

  tags = merge({ "kiven:module" = "onboarding" }, var.tags)
}

module "policies" {
  source = "./policies"

  account_id          = local.account
  partition           = local.partition
  dns_suffix          = data.aws_partition.this.dns_suffix
  region              = local.region
  eks_cluster_name    = var.eks_cluster_name
  oidc_host           = trimprefix(trimprefix(data.aws_eks_cluster.this.identity[0].oidc[0].issuer, "https://"), "http://")
  environment_id      = var.environment_id
  external_id         = var.external_id
  kiven_principal_arn = var.kiven_principal_arn
  role_name           = var.role_name
  node_role_arn       = "${local.iam}:role/${local.node_role}"
  boundary_arn        = "${local.iam}:policy/${local.boundary}"
  launch_template_arn = aws_launch_template.nodes.arn
}

# The role that Kiven assumes: for 15 minutes at a time, with a session policy that narrows it further for each kind of step.
resource "aws_iam_role" "access" {
  name                 = var.role_name
  description          = "Kiven operates databases in this account through this role"
  assume_role_policy   = module.policies.trust
  max_session_duration = 3600
  tags                 = local.tags
}

resource "aws_iam_role_policy" "access" {
  name   = "kiven-access"
  role   = aws_iam_role.access.id
  policy = module.policies.access
}

resource "aws_iam_policy" "boundary" {
  count = var.create_account_resources ? 1 : 0

  name        = local.boundary
  description = "The most that a role made by Kiven can do"
  policy      = module.policies.boundary
  tags        = local.tags
}

resource "aws_iam_service_linked_role" "nodegroup" {
  count = var.create_service_linked_role ? 1 : 0

  aws_service_name = "eks-nodegroup.amazonaws.com"
}
