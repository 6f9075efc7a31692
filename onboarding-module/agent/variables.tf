variable "agent_values" {
  description = "The attribute `agent_values` of the kiven_environment: the chart's values."
  type        = any

  validation {
    condition     = alltrue([for name in ["environmentId", "relayAddress", "apiUrl"] : try(length(var.agent_values[name]) > 0, false)])
    error_message = "The attribute agent_values of a kiven_environment: environmentId, relayAddress and apiUrl are in it."
  }
}

variable "chart" {
  description = "The agent's chart: a folder, an archive, or oci:// and its name in a registry."
  type        = string
}

variable "chart_version" {
  description = "The chart's version, where `chart` is in a registry; moving it on is what upgrades the agent."
  type        = string
  default     = null
}

variable "values" {
  description = "Further values of the chart as YAML documents, of which later ones win: a proxy, a mirror of images, a private authority."
  type        = list(string)
  default     = []
}

variable "timeout_seconds" {
  description = "How long the agent may take to be ready."
  type        = number
  default     = 300

  validation {
    condition     = var.timeout_seconds >= 60 && var.timeout_seconds <= 3600
    error_message = "From 60 to 3600 seconds."
  }
}
