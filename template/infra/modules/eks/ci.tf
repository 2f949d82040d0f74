# What GitHub's workflows may do here: push images and release models. `bootstrap` made the
# account's trust in GitHub, of which there can be one only.

locals {
  github = "token.actions.githubusercontent.com"
  ci     = var.ci_identity == null ? {} : { ci = var.ci_identity }
}

data "aws_iam_policy_document" "assumed_by_ci" {
  for_each = local.ci

  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]
    principals {
      type        = "Federated"
      identifiers = ["${local.arn}:iam::${local.account_id}:oidc-provider/${local.github}"]
    }
    condition {
      test     = "StringEquals"
      variable = "${local.github}:aud"
      values   = ["sts.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "${local.github}:repository_id"
      values   = [each.value.repository_id]
    }
    # Of the token's claims STS looks at some only: not at repository_owner_id, with which nobody
    # would ever be let in. A repository keeps its own number under another owner.
    condition {
      test     = "StringEquals"
      variable = "${local.github}:environment"
      values   = each.value.environments
    }
    condition {
      # The repository is told by its number above; its name, which the subject begins with, can
      # change hands. AWS wants the subject to be looked at.
      test     = "StringLike"
      variable = "${local.github}:sub"
      values   = [for environment in each.value.environments : "repo:*:environment:${environment}"]
    }
  }
}

resource "aws_iam_role" "ci" {
  for_each = local.ci

  name               = "${local.full_name}-ci"
  assume_role_policy = data.aws_iam_policy_document.assumed_by_ci[each.key].json
  # Longer than a job lasts that follows a run: what .github/actions/login asks for.
  max_session_duration = 14400
  tags                 = local.tags
}

# The cluster knows it, and gives it nothing: that is for Kubernetes' own roles, bound to this group.
resource "aws_eks_access_entry" "ci" {
  for_each = local.ci

  cluster_name      = aws_eks_cluster.this.name
  principal_arn     = aws_iam_role.ci[each.key].arn
  kubernetes_groups = ["${local.full_name}-ci"]
  tags              = local.tags
}

data "aws_iam_policy_document" "ci" {
  for_each = local.ci

  statement {
    # What a kubeconfig is written of.
    sid       = "FindCluster"
    actions   = ["eks:DescribeCluster"]
    resources = [aws_eks_cluster.this.arn]
  }
  statement {
    sid       = "LogIn"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }
  statement {
    sid = "PushImages"
    actions = [
      "ecr:BatchCheckLayerAvailability",
      "ecr:BatchGetImage",
      "ecr:CompleteLayerUpload",
      "ecr:DescribeImages",
      "ecr:GetDownloadUrlForLayer",
      "ecr:InitiateLayerUpload",
      "ecr:PutImage",
      "ecr:UploadLayerPart",
    ]
    resources = ["${local.arn}:ecr:${var.region}:${local.account_id}:repository/${local.full_name}/*"]
  }
  statement {
    # Read what a run wrote, and copy a model to where it is released from. It deletes nothing.
    sid       = "ReadBuckets"
    actions   = ["s3:ListBucket", "s3:GetBucketLocation", "s3:GetObject"]
    resources = flatten([for bucket in aws_s3_bucket.this : [bucket.arn, "${bucket.arn}/*"]])
  }
  statement {
    sid       = "ReleaseModels"
    actions   = ["s3:PutObject", "s3:AbortMultipartUpload"]
    resources = ["${aws_s3_bucket.this["model_store"].arn}/*"]
  }
  statement {
    sid       = "KeyOfBuckets"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [aws_kms_key.this.arn]
    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${var.region}.amazonaws.com"]
    }
  }
}

resource "aws_iam_role_policy" "ci" {
  for_each = local.ci

  name   = "images-and-models"
  role   = aws_iam_role.ci[each.key].name
  policy = data.aws_iam_policy_document.ci[each.key].json
}
