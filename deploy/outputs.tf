output "api_url" {
  description = "The API: what the provider and the CLI take as endpoint."
  value       = local.api_url
}

output "relay_address" {
  description = "Where agents connect: host and port."
  value       = "${local.relay_host}:443"
}

output "principal_arn" {
  description = "Who Kiven is in customers' accounts; the onboarding module takes it."
  value       = aws_iam_role.principal.arn
}

output "relay_environment" {
  description = "The relay's configuration, as its tasks have it. No secret is in it."
  value       = local.relay_environment
}

output "relay_role_name" {
  description = "The relay's role."
  value       = aws_iam_role.relay.name
}

output "dead_letter_urls" {
  description = "Queues of what could not be handled: empty on a healthy installation."
  value       = { for name, queue in aws_sqs_queue.dead : name => queue.url }
}

output "authority_key_arn" {
  description = "The key of the agents' authority."
  value       = aws_kms_key.authority.arn
}
