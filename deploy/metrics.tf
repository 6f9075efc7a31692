# What databases count, packed by the relay: an object for each environment and minute, under `metrics/{environment}/`.
resource "aws_s3_bucket" "metrics" {
  bucket        = "${var.name}-metrics-${local.account}-${local.region}"
  force_destroy = !var.protected
  tags          = local.tags
}

resource "aws_s3_bucket_public_access_block" "metrics" {
  bucket                  = aws_s3_bucket.metrics.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "metrics" {
  bucket = aws_s3_bucket.metrics.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "metrics" {
  bucket = aws_s3_bucket.metrics.id

  rule {
    id     = "old-metrics"
    status = "Enabled"

    filter {
      prefix = "metrics/"
    }

    expiration {
      days = var.metrics_retention_days
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }
}

data "aws_iam_policy_document" "metrics" {
  statement {
    sid       = "OnlyByTls"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.metrics.arn, "${aws_s3_bucket.metrics.arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "metrics" {
  bucket = aws_s3_bucket.metrics.id
  policy = data.aws_iam_policy_document.metrics.json

  depends_on = [aws_s3_bucket_public_access_block.metrics]
}
