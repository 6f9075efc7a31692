resource "kiven_environment" "production" {
  name             = "production"
  aws_account_id   = "123456789012"
  aws_region       = "eu-west-1"
  eks_cluster_name = "main"
}

# The values of the agent's Helm chart; none is secret.
output "agent_values" {
  value = kiven_environment.production.agent_values
}
