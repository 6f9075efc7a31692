variable "account_id" {
  description = "The customer's account."
  type        = string
}

variable "partition" {
  description = "The partition: aws, aws-cn, aws-us-gov."
  type        = string
  default     = "aws"
}

variable "dns_suffix" {
  description = "The partition's suffix of service principals."
  type        = string
  default     = "amazonaws.com"
}

variable "region" {
  description = "The region of the EKS cluster."
  type        = string
}

variable "eks_cluster_name" {
  description = "The EKS cluster."
  type        = string
}

variable "oidc_host" {
  description = "The cluster's token issuer without https://."
  type        = string
}

variable "environment_id" {
  description = "The environment that the role is for."
  type        = string
}

variable "external_id" {
  description = "The environment's external id."
  type        = string
}

variable "kiven_principal_arn" {
  description = "Who may assume the role."
  type        = string
}

variable "role_name" {
  description = "The role's own name."
  type        = string
}

variable "node_role_arn" {
  description = "The nodes' role."
  type        = string
}

variable "boundary_arn" {
  description = "The boundary of every role that Kiven makes."
  type        = string
}

variable "launch_template_arn" {
  description = "The nodes' launch template."
  type        = string
}
