# The agent in the EKS cluster. It is a module of its own, so that whoever installs charts in another way needs no provider for it.
resource "helm_release" "agent" {
  name             = "kiven-agent"
  namespace        = "kiven-system"
  create_namespace = true
  chart            = var.chart
  version          = var.chart_version
  values           = concat([yamlencode(var.agent_values)], var.values)

  # A release that does not become ready is taken back whole: the next apply begins where this one did.
  atomic  = true
  wait    = true
  timeout = var.timeout_seconds
}
