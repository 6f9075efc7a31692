# Node groups: made in the one cluster from the one launch template, and changed only where they carry this environment's tag.
locals {
  nodes = [
    {
      Sid       = "MakeNodeGroups"
      Effect    = "Allow"
      Action    = ["eks:CreateNodegroup"]
      Resource  = local.cluster
      Condition = local.made_here
    },
    {
      Sid       = "TagNodeGroupsAtBirth"
      Effect    = "Allow"
      Action    = ["eks:TagResource"]
      Resource  = local.node_groups
      Condition = local.made_here
    },
    {
      Sid      = "LookAtNodeGroups"
      Effect   = "Allow"
      Action   = ["eks:DescribeNodegroup", "eks:DescribeUpdate", "eks:ListUpdates"]
      Resource = local.node_groups
    },
    {
      Sid    = "ChangeOwnNodeGroups"
      Effect = "Allow"
      Action = [
        "eks:DeleteNodegroup",
        "eks:UpdateNodegroupConfig",
        "eks:UpdateNodegroupVersion",
      ]
      Resource  = local.node_groups
      Condition = local.ours
    },
    {
      # EKS tries the launch template with the caller's rights before it makes a group.
      Sid       = "StartNodesFromTheTemplate"
      Effect    = "Allow"
      Action    = ["ec2:RunInstances"]
      Resource  = "*"
      Condition = { ArnEquals = { "ec2:LaunchTemplate" = var.launch_template_arn } }
    },
    {
      Sid       = "TagNodesAtStart"
      Effect    = "Allow"
      Action    = ["ec2:CreateTags"]
      Resource  = ["${local.ec2}:instance/*", "${local.ec2}:network-interface/*", "${local.ec2}:volume/*"]
      Condition = { StringEquals = { "ec2:CreateAction" = "RunInstances" } }
    },
    {
      # These calls know no resource.
      Sid    = "LookAtTheNetwork"
      Effect = "Allow"
      Action = [
        "ec2:DescribeInstanceTypes",
        "ec2:DescribeLaunchTemplateVersions",
        "ec2:DescribeLaunchTemplates",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
      ]
      Resource = "*"
    },
    {
      Sid       = "PassNodeRole"
      Effect    = "Allow"
      Action    = ["iam:PassRole"]
      Resource  = var.node_role_arn
      Condition = { StringEquals = { "iam:PassedToService" = ["eks.${var.dns_suffix}", "ec2.${var.dns_suffix}"] } }
    },
  ]
}
