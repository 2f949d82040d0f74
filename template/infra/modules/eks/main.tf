# What the other files build on: names, labels, the account, and the key that everything is kept under.

data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

locals {
  full_name  = "${var.name}-${var.environment}"
  account_id = data.aws_caller_identity.this.account_id
  partition  = data.aws_partition.this.partition
  arn        = "arn:${local.partition}"

  # Put on every resource here, and not by the provider's default_tags, as a module's caller may
  # have set others.
  tags = merge(var.labels, {
    name        = local.full_name
    environment = var.environment
    managed-by  = "terraform"
  })
}

# One key for Secrets in etcd, both buckets, the images, the logs and the database: who may read
# them is decided by their own policies, and one key costs a dollar a month where six cost six.
resource "aws_kms_key" "this" {
  description             = "${local.full_name}: Secrets, buckets, images, logs and database"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = data.aws_iam_policy_document.key.json
  tags                    = local.tags
}

resource "aws_kms_alias" "this" {
  name          = "alias/${local.full_name}"
  target_key_id = aws_kms_key.this.key_id
}

data "aws_iam_policy_document" "key" {
  # Without it no IAM policy counts for the key, and nobody could change or delete it.
  statement {
    sid       = "AccountDecidesByIam"
    actions   = ["kms:*"]
    resources = ["*"]
    principals {
      type        = "AWS"
      identifiers = ["${local.arn}:iam::${local.account_id}:root"]
    }
  }
  statement {
    sid       = "LogsOfThisCluster"
    actions   = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
    resources = ["*"]
    principals {
      type        = "Service"
      identifiers = ["logs.${var.region}.amazonaws.com"]
    }
    condition {
      test     = "ArnEquals"
      variable = "kms:EncryptionContext:aws:logs:arn"
      values   = ["${local.arn}:logs:${var.region}:${local.account_id}:log-group:/aws/eks/${local.full_name}/cluster"]
    }
  }
  dynamic "statement" {
    for_each = local.readers
    content {
      # Of all that the key is for, the models alone: S3 names the bucket to it.
      sid       = "ReadersOfModels"
      actions   = ["kms:Decrypt"]
      resources = ["*"]
      principals {
        type        = "AWS"
        identifiers = statement.value
      }
      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values   = ["s3.${var.region}.amazonaws.com"]
      }
      condition {
        test     = "StringLike"
        variable = "kms:EncryptionContext:aws:s3:arn"
        values   = [local.model_store_arn, "${local.model_store_arn}/*"]
      }
    }
  }
}
