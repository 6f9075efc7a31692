variable "name" {
  description = "Prefix of everything's name: more than one installation fits into an account."
  type        = string
  default     = "kiven"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,19}$", var.name))
    error_message = "2 to 20 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "packages" {
  description = "The folder with the functions' zips, as `cargo xtask package` makes it."
  type        = string
}

variable "architecture" {
  description = "What functions and relay run on: x86_64 or arm64. arm64 costs a fifth less."
  type        = string
  default     = "x86_64"

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "x86_64 or arm64."
  }
}

variable "relay" {
  description = "The relay: its image, how many tasks, and each task's CPU (1024 is one vCPU) and memory (MiB). Two tasks run in two zones; one is cheaper and is away for a minute when its zone or its host goes."
  type = object({
    image  = string
    count  = optional(number, 2)
    cpu    = optional(number, 256)
    memory = optional(number, 512)
  })

  validation {
    condition     = var.relay.count >= 0 && var.relay.count <= 20
    error_message = "0 to 20 tasks."
  }
}

variable "zones" {
  description = "Availability zones of the relay: two, or one where a single relay is enough."
  type        = list(string)

  validation {
    condition     = length(var.zones) >= 1 && length(var.zones) <= 3 && length(distinct(var.zones)) == length(var.zones)
    error_message = "One to three different zones."
  }
}

variable "network_cidr" {
  description = "Addresses of the relay's own network; nothing else is in it and it is connected to nothing."
  type        = string
  default     = "10.80.0.0/24"
}

variable "domain" {
  description = "Own names: the API at api.NAME, the relay at relay.NAME, in this Route 53 zone. AWS's names when left out."
  type = object({
    name    = string
    zone_id = string
  })
  default = null
}

variable "organizations" {
  description = "Organizations and the first API key of each, by organization id. Only a digest of a key is given and stored."
  type = map(object({
    name           = string
    api_key_id     = string
    api_key_sha256 = string
  }))
  default = {}

  validation {
    condition     = alltrue([for o in values(var.organizations) : can(regex("^[0-9a-f]{64}$", o.api_key_sha256))])
    error_message = "api_key_sha256 is 64 hexadecimal digits, never the key."
  }
}

variable "alarm_topic_arns" {
  description = "SNS topics that alarms go to."
  type        = list(string)
  default     = []
}

variable "log_retention_days" {
  description = "How long logs are kept."
  type        = number
  default     = 30
}

variable "metrics_retention_days" {
  description = "How long statistics of databases are kept."
  type        = number
  default     = 90
}

variable "otlp_endpoint" {
  description = "Where traces go, by OTLP over HTTP (JSON), such as https://collector.example.com; none when left out."
  type        = string
  default     = null
}

variable "worker_concurrency_max" {
  description = "Most operations that are driven at the same time."
  type        = number
  default     = 100
}

variable "protected" {
  description = "Keep table, payloads and the authority's key from being destroyed with the module. Set it to false and apply before destroying."
  type        = bool
  default     = true
}

variable "tags" {
  description = "Tags of everything this module makes."
  type        = map(string)
  default     = {}
}
