resource "kiven_environment_connection" "production" {
  environment_id = kiven_environment.production.id
  role_arn       = "arn:aws:iam::123456789012:role/kiven"
  subnets = {
    "eu-west-1a" = "subnet-0a1b2c3d4e5f60718"
    "eu-west-1b" = "subnet-0f1e2d3c4b5a69788"
    "eu-west-1c" = "subnet-0918273645546372a"
  }
  launch_template = "lt-0123456789abcdef0"
}
