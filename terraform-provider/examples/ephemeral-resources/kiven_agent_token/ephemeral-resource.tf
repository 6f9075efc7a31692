resource "kiven_environment" "private" {
  name             = "private"
  aws_account_id   = "123456789012"
  aws_region       = "eu-west-1"
  eks_cluster_name = "private"
  agent_enrolment  = "token"
}

# Made anew in each run, revoked at its end unless the agent has spent it. Give it to a write-only argument, such as
# `set_wo` of a `helm_release` that installs the agent's chart and waits for it.
ephemeral "kiven_agent_token" "first" {
  environment_id = kiven_environment.private.id
}
