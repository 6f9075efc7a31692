# Where the database goes. In your own account, the onboarding module outputs role, subnets and launch template.
variable "aws_account_id" {
  description = "The AWS account, twelve digits."
  type        = string
  default     = "000000000000"
}

variable "aws_region" {
  description = "The AWS region."
  type        = string
  default     = "eu-west-1"
}

variable "eks_cluster_name" {
  description = "The EKS cluster's name."
  type        = string
  default     = "local"
}

variable "role_arn" {
  description = "The role that Kiven assumes."
  type        = string
  default     = "arn:aws:iam::000000000000:role/kiven-access"
}

variable "subnets" {
  description = "Subnet by availability zone."
  type        = map(string)
  default = {
    "eu-west-1a" = "subnet-local-a"
    "eu-west-1b" = "subnet-local-b"
    "eu-west-1c" = "subnet-local-c"
  }
}

variable "launch_template" {
  description = "The launch template of node groups."
  type        = string
  default     = "lt-local"
}
