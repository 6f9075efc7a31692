# What database nodes are and may do. Kiven starts nodes from this template and cannot change it.
resource "aws_iam_role" "node" {
  count = var.create_account_resources ? 1 : 0

  name               = local.node_role
  description        = "Nodes of Kiven's databases"
  assume_role_policy = module.policies.node_trust
  tags               = local.tags
}

resource "aws_iam_role_policy_attachment" "node" {
  for_each = toset(var.create_account_resources ? ["AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryPullOnly"] : [])

  role       = aws_iam_role.node[0].name
  policy_arn = "arn:${local.partition}:iam::aws:policy/${each.value}"
}

resource "aws_launch_template" "nodes" {
  name                   = "kiven-nodes-${var.eks_cluster_name}"
  description            = "Nodes of Kiven's databases"
  update_default_version = true
  vpc_security_group_ids = concat([data.aws_eks_cluster.this.vpc_config[0].cluster_security_group_id], var.node_security_group_ids)
  tags                   = local.tags

  # Pods are one hop further away: only the node itself reaches its credentials.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      encrypted             = true
      kms_key_id            = var.root_volume_kms_key_arn
      volume_size           = 40
      volume_type           = "gp3"
      delete_on_termination = true
    }
  }

  dynamic "tag_specifications" {
    for_each = toset(["instance", "volume"])

    content {
      resource_type = tag_specifications.value
      tags          = merge(local.tags, { Name = "kiven-database" })
    }
  }
}

# Auto Scaling starts the nodes: without this grant it cannot use a key of the customer's for their root volumes.
resource "aws_kms_grant" "root_volume" {
  count = var.root_volume_kms_key_arn == null ? 0 : 1

  name              = "kiven-nodes-${var.eks_cluster_name}"
  key_id            = var.root_volume_kms_key_arn
  grantee_principal = "${local.iam}:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
  operations = [
    "CreateGrant",
    "Decrypt",
    "DescribeKey",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
  ]
}
