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
  oidc_host = trimprefix(data.aws_eks_cluster.this.identity[0].oidc[0].issuer, "https://")

  # Grouped, so that two subnets of one zone are found before they get lost in a map.
  subnets_by_zone = { for subnet in data.aws_subnet.this : subnet.availability_zone => subnet.id... }

  iam     = "arn:${local.partition}:iam::${local.account}"
  eks     = "arn:${local.partition}:eks:${local.region}:${local.account}"
  ec2     = "arn:${local.partition}:ec2:${local.region}:${local.account}"
  buckets = "arn:${local.partition}:s3:::kiven-backups-${local.account}-*"
  tags    = merge({ "kiven:module" = "onboarding" }, var.tags)
}

resource "aws_iam_service_linked_role" "nodegroup" {
  count = var.create_service_linked_role ? 1 : 0

  aws_service_name = "eks-nodegroup.amazonaws.com"
}
