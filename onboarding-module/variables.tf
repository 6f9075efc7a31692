variable "eks_cluster_name" {
  description = "The EKS cluster that databases go into."
  type        = string
}

variable "environment_id" {
  description = "The attribute `id` of the kiven_environment: what carries another environment's tag is out of the role's reach."
  type        = string

  validation {
    condition     = can(regex("^env_[0-9a-hjkmnp-tv-z]{20}$", var.environment_id))
    error_message = "The id of a kiven_environment: env_ and twenty characters."
  }
}

variable "external_id" {
  description = "The attribute `external_id` of the kiven_environment."
  type        = string

  validation {
    condition     = length(var.external_id) >= 16
    error_message = "The external id is the kiven_environment's own: at least 16 characters."
  }
}

variable "kiven_principal_arn" {
  description = "The attribute `principal_arn` of the kiven_environment: who may assume the role."
  type        = string

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/[^*]+$", var.kiven_principal_arn))
    error_message = "One role or user by its ARN; no account root and no wildcard."
  }
}

variable "subnet_ids" {
  description = "Private subnets for database nodes, one for each availability zone."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 1 && length(var.subnet_ids) <= 6
    error_message = "One to six subnets, one for each zone."
  }
}

variable "node_security_group_ids" {
  description = "Further security groups of database nodes, besides the cluster's own."
  type        = list(string)
  default     = []
}

variable "root_volume_kms_key_arn" {
  description = "The KMS key of the nodes' root volumes; the account's default EBS key when left out."
  type        = string
  default     = null
}

variable "role_name" {
  description = "The name of the role that Kiven assumes. Another one for each further EKS cluster of the account."
  type        = string
  default     = "kiven-access"

  validation {
    condition     = can(regex("^kiven-access(-[A-Za-z0-9-]{1,40})?$", var.role_name))
    error_message = "kiven-access, or kiven-access- and up to forty letters, digits and hyphens."
  }
}

variable "create_account_resources" {
  description = "Make the role `kiven-node` and the policy `kiven-boundary`, which an account has once. False for every further EKS cluster."
  type        = bool
  default     = true
}

variable "create_service_linked_role" {
  description = "Make the service-linked role of EKS node groups. False when the account has had a node group before."
  type        = bool
  default     = false
}

variable "tags" {
  description = "Tags of everything this module makes."
  type        = map(string)
  default     = {}
}
