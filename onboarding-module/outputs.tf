# As kiven_environment_connection takes them.
output "role_arn" {
  description = "The role that Kiven assumes."
  value       = aws_iam_role.access.arn

  # Whoever has the ARN may count on the rights being there.
  depends_on = [aws_iam_role_policy.access, aws_iam_role_policy_attachment.node]
}

output "subnets" {
  description = "Subnet by availability zone."
  value       = { for zone, ids in local.subnets_by_zone : zone => ids[0] }

  precondition {
    condition     = alltrue([for ids in values(local.subnets_by_zone) : length(ids) == 1])
    error_message = "Two of subnet_ids are in one zone; give one for each zone."
  }

  precondition {
    condition     = alltrue([for subnet in data.aws_subnet.this : subnet.vpc_id == data.aws_eks_cluster.this.vpc_config[0].vpc_id])
    error_message = "A subnet of subnet_ids is not in the EKS cluster's VPC."
  }
}

output "launch_template" {
  description = "The id of the nodes' launch template."
  value       = aws_launch_template.nodes.id
}

output "permissions_boundary_arn" {
  description = "The boundary of every role that Kiven makes."
  value       = "${local.iam}:policy/${local.boundary}"
}
