# The truth. Keys and indexes are those of crates/aws/src/store/schema.rs; a test holds the two together.
resource "aws_dynamodb_table" "this" {
  name                        = var.name
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "pk"
  range_key                   = "sk"
  deletion_protection_enabled = var.protected
  tags                        = local.tags

  dynamic "attribute" {
    for_each = ["pk", "sk", "owned_pk", "owned_sk", "due_pk", "due_sk"]

    content {
      name = attribute.value
      type = "S"
    }
  }

  global_secondary_index {
    name            = "owned"
    hash_key        = "owned_pk"
    range_key       = "owned_sk"
    projection_type = "ALL"
  }

  global_secondary_index {
    name            = "due"
    hash_key        = "due_pk"
    range_key       = "due_sk"
    projection_type = "KEYS_ONLY"
  }

  ttl {
    attribute_name = "expires_at"
    enabled        = true
  }

  # Any second of the last 35 days: the promise is an hour.
  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled = true
  }
}

# Who may call the API at first. Later keys are the API's.
resource "aws_dynamodb_table_item" "organization" {
  for_each = var.organizations

  table_name = aws_dynamodb_table.this.name
  hash_key   = "pk"
  range_key  = "sk"
  item = jsonencode({
    pk  = { S = "ORG#${each.key}" }
    sk  = { S = "HEAD" }
    doc = { S = jsonencode({ id = each.key, name = each.value.name }) }
  })
}

resource "aws_dynamodb_table_item" "api_key" {
  for_each = var.organizations

  table_name = aws_dynamodb_table.this.name
  hash_key   = "pk"
  range_key  = "sk"
  item = jsonencode({
    pk = { S = "KEY#${each.value.api_key_id}" }
    sk = { S = "HEAD" }
    doc = { S = jsonencode({
      id              = each.value.api_key_id
      organization_id = each.key
      role            = "owner"
      key_sha256      = each.value.api_key_sha256
      expires_at      = null
    }) }
  })
}
