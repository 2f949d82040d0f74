# A release comes from another cluster: prod takes what staging, in nonprod, was tried with. In one
# account it is enough that the bucket, its key and the images let the reader in; from another
# account the reader has to be allowed to by its own account too.

locals {
  readers         = length(var.promotion.readers) == 0 ? {} : { readers = var.promotion.readers }
  model_store_arn = "${local.arn}:s3:::${local.buckets.model_store.name}"

  sources = var.promotion.source == null ? {} : { source = {
    bucket   = "${local.arn}:s3:::${trimprefix(var.promotion.source.model_store, "s3://")}"
    account  = split(".", var.promotion.source.registry)[0]
    region   = split(".", var.promotion.source.registry)[3]
    registry = join("/", slice(split("/", var.promotion.source.registry), 1, length(split("/", var.promotion.source.registry))))
  } }

  # Whoever may get an image by its digest may list what refers to it, its signatures.
  pull = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
}

data "aws_iam_policy_document" "readers" {
  for_each = local.readers

  statement {
    sid     = "ReadersOfImages"
    actions = local.pull
    principals {
      type        = "AWS"
      identifiers = each.value
    }
  }
}

resource "aws_ecr_repository_policy" "readers" {
  for_each = length(local.readers) == 0 ? {} : aws_ecr_repository.this

  repository = each.value.name
  policy     = data.aws_iam_policy_document.readers["readers"].json
}

data "aws_iam_policy_document" "source" {
  for_each = local.sources

  statement {
    sid       = "ReadModels"
    actions   = ["s3:ListBucket", "s3:GetBucketLocation", "s3:GetObject"]
    resources = [each.value.bucket, "${each.value.bucket}/*"]
  }
  statement {
    # Whichever key the bucket there has, and for that bucket alone.
    sid       = "KeyOfModels"
    actions   = ["kms:Decrypt"]
    resources = ["${local.arn}:kms:${each.value.region}:${each.value.account}:key/*"]
    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${each.value.region}.amazonaws.com"]
    }
    condition {
      test     = "StringLike"
      variable = "kms:EncryptionContext:aws:s3:arn"
      values   = [each.value.bucket, "${each.value.bucket}/*"]
    }
  }
  statement {
    sid       = "PullImages"
    actions   = local.pull
    resources = ["${local.arn}:ecr:${each.value.region}:${each.value.account}:repository/${each.value.registry}/*"]
  }
}

resource "aws_iam_role_policy" "source" {
  for_each = local.sources

  name   = "read-what-is-promoted"
  role   = aws_iam_role.ci["ci"].name
  policy = data.aws_iam_policy_document.source[each.key].json
}
