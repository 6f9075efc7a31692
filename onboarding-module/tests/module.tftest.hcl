# The module without an account: the provider is a mock, the documents are the real ones.
mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com" }
  }
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }
  mock_data "aws_eks_cluster" {
    defaults = {
      arn        = "arn:aws:eks:eu-west-1:111122223333:cluster/main"
      identity   = [{ oidc = [{ issuer = "https://oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF" }] }]
      vpc_config = [{ vpc_id = "vpc-1", cluster_security_group_id = "sg-1" }]
    }
  }
  mock_resource "aws_launch_template" {
    defaults = {
      id  = "lt-0123456789abcdef0"
      arn = "arn:aws:ec2:eu-west-1:111122223333:launch-template/lt-0123456789abcdef0"
    }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/kiven-access" }
  }
}

override_data {
  target = data.aws_subnet.this["subnet-a"]
  values = { id = "subnet-a", availability_zone = "eu-west-1a", vpc_id = "vpc-1" }
}

override_data {
  target = data.aws_subnet.this["subnet-b"]
  values = { id = "subnet-b", availability_zone = "eu-west-1b", vpc_id = "vpc-1" }
}

override_data {
  target = data.aws_subnet.this["subnet-a2"]
  values = { id = "subnet-a2", availability_zone = "eu-west-1a", vpc_id = "vpc-1" }
}

variables {
  eks_cluster_name    = "main"
  environment_id      = "env_0123456789abcdefghjk"
  external_id         = "0123456789abcdef0123456789abcdef"
  kiven_principal_arn = "arn:aws:iam::000000000000:role/kiven-worker"
  subnet_ids          = ["subnet-a", "subnet-b"]
}

run "what_the_connection_takes" {
  assert {
    condition     = output.subnets["eu-west-1a"] == "subnet-a" && output.subnets["eu-west-1b"] == "subnet-b" && output.launch_template == "lt-0123456789abcdef0"
    error_message = "The outputs are what kiven_environment_connection takes."
  }
}

run "nobody_else_gets_in" {
  assert {
    condition = jsondecode(aws_iam_role.access.assume_role_policy).Statement[0].Condition.StringEquals == {
      "sts:ExternalId"                   = "0123456789abcdef0123456789abcdef"
      "aws:RequestTag/kiven:environment" = "env_0123456789abcdefghjk"
    }
    error_message = "The role opens with the external id, as this environment."
  }
  assert {
    condition     = jsondecode(aws_iam_role.access.assume_role_policy).Statement[0].Principal.AWS == var.kiven_principal_arn
    error_message = "Only Kiven's principal."
  }
}

run "no_wildcard_and_no_deletion_of_data" {
  assert {
    condition     = alltrue([for s in jsondecode(aws_iam_role_policy.access.policy).Statement : alltrue([for a in flatten([s.Action]) : !strcontains(a, "*")])])
    error_message = "No action has a wildcard."
  }
  assert {
    condition = length(setintersection(
      toset(flatten([for s in jsondecode(aws_iam_role_policy.access.policy).Statement : flatten([s.Action])])),
      ["s3:DeleteBucket", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:GetObject", "kms:ScheduleKeyDeletion", "ec2:DeleteVolume", "iam:AttachRolePolicy"],
    )) == 0
    error_message = "Kiven deletes and reads no data."
  }
  assert {
    condition     = length(aws_iam_role_policy.access.policy) < 10240
    error_message = "An inline policy has at most 10,240 characters."
  }
}

run "nodes_keep_their_credentials" {
  assert {
    condition     = aws_launch_template.nodes.metadata_options[0].http_tokens == "required" && aws_launch_template.nodes.metadata_options[0].http_put_response_hop_limit == 1
    error_message = "IMDSv2 within one hop."
  }
  assert {
    condition     = tobool(aws_launch_template.nodes.block_device_mappings[0].ebs[0].encrypted)
    error_message = "Root volumes are encrypted."
  }
}

run "a_further_cluster_of_the_account" {
  variables {
    role_name                = "kiven-access-second"
    create_account_resources = false
  }
  assert {
    condition     = length(aws_iam_role.node) == 0 && length(aws_iam_policy.boundary) == 0 && aws_iam_role.access.name == "kiven-access-second"
    error_message = "What an account has once is not made twice."
  }
}

run "a_key_of_the_customers" {
  variables {
    root_volume_kms_key_arn = "arn:aws:kms:eu-west-1:111122223333:key/1"
  }
  assert {
    condition     = length(aws_kms_grant.root_volume) == 1
    error_message = "Auto Scaling may use the key of root volumes."
  }
}

# The boundary is made with the account's first cluster: the key of a later one's backups is within it.
run "a_key_that_only_a_further_cluster_uses" {
  assert {
    condition = one([
      for s in jsondecode(aws_iam_policy.boundary[0].policy).Statement : s if s.Sid == "BackupKeysThroughS3"
      ]) == {
      Sid      = "BackupKeysThroughS3"
      Effect   = "Allow"
      Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource = "arn:aws:kms:*:111122223333:key/*"
      Condition = {
        StringLike   = { "kms:ViaService" = "s3.*.amazonaws.com" }
        StringEquals = { "kms:CallerAccount" = "111122223333" }
      }
    }
    error_message = "Every key of the account, through S3 alone, and none of another account."
  }
  assert {
    condition     = length(aws_iam_policy.boundary[0].policy) < 6144
    error_message = "A managed policy has at most 6,144 characters."
  }
}

run "two_subnets_of_one_zone" {
  command = plan
  variables {
    subnet_ids = ["subnet-a", "subnet-a2"]
  }
  expect_failures = [output.subnets]
}

run "an_account_root_is_nobody" {
  command = plan
  variables {
    kiven_principal_arn = "arn:aws:iam::000000000000:root"
  }
  expect_failures = [var.kiven_principal_arn]
}

run "a_short_external_id" {
  command = plan
  variables {
    external_id = "short"
  }
  expect_failures = [var.external_id]
}
