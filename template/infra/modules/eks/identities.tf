# What pods may do at AWS, by their Kubernetes service account: no keys, nothing of the node's.

data "aws_iam_policy_document" "assumed_by_pods" {
  statement {
    # The session's tags name cluster, namespace and service account in CloudTrail.
    actions = ["sts:AssumeRole", "sts:TagSession"]
    principals {
      type        = "Service"
      identifiers = ["pods.eks.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account_id]
    }
    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [aws_eks_cluster.this.arn]
    }
  }
}

locals {
  object_actions = {
    read  = ["s3:GetObject"]
    write = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
  }
  key_actions = {
    read  = ["kms:Decrypt"]
    write = ["kms:Decrypt", "kms:GenerateDataKey"]
  }
  # A flat table of what each identity may do with each bucket.
  bucket_access = flatten([
    for name, identity in var.workload_identities : [
      for bucket, access in identity.bucket_access :
      { identity = name, bucket = bucket, access = access } if access != "none"
    ]
  ])
  # One association for each service account.
  service_accounts = merge([
    for name, identity in var.workload_identities : {
      for account in identity.service_accounts :
      "${identity.namespace}/${account}" => { identity = name, namespace = identity.namespace, service_account = account }
    }
  ]...)
}

resource "aws_iam_role" "workload" {
  for_each = var.workload_identities

  name               = "${local.full_name}-${each.key}"
  assume_role_policy = data.aws_iam_policy_document.assumed_by_pods.json
  tags               = local.tags
}

data "aws_iam_policy_document" "workload" {
  for_each = toset(local.bucket_access[*].identity)

  dynamic "statement" {
    for_each = [for each_access in local.bucket_access : each_access if each_access.identity == each.key]
    content {
      actions   = ["s3:ListBucket", "s3:GetBucketLocation"]
      resources = [aws_s3_bucket.this[statement.value.bucket].arn]
    }
  }
  dynamic "statement" {
    for_each = [for each_access in local.bucket_access : each_access if each_access.identity == each.key]
    content {
      actions   = local.object_actions[statement.value.access]
      resources = ["${aws_s3_bucket.this[statement.value.bucket].arn}/*"]
    }
  }
  statement {
    actions   = distinct(flatten([for each_access in local.bucket_access : local.key_actions[each_access.access] if each_access.identity == each.key]))
    resources = [aws_kms_key.this.arn]
    # The key for Secrets too: only what S3 asks for on a pod's behalf.
    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${var.region}.amazonaws.com"]
    }
  }
}

resource "aws_iam_role_policy" "workload" {
  for_each = data.aws_iam_policy_document.workload

  name   = "buckets"
  role   = aws_iam_role.workload[each.key].name
  policy = each.value.json
}

resource "aws_eks_pod_identity_association" "workload" {
  for_each = local.service_accounts

  cluster_name    = aws_eks_cluster.this.name
  namespace       = each.value.namespace
  service_account = each.value.service_account
  role_arn        = aws_iam_role.workload[each.value.identity].arn
  tags            = local.tags
}

# What the cluster itself runs: the disks' driver, and the autoscaler.
locals {
  system_accounts = {
    ebs-csi    = "ebs-csi-controller-sa"
    autoscaler = "cluster-autoscaler"
  }
}

resource "aws_iam_role" "system" {
  for_each = local.system_accounts

  name               = "${local.full_name}-system-${each.key}"
  assume_role_policy = data.aws_iam_policy_document.assumed_by_pods.json
  tags               = local.tags
}

resource "aws_iam_role_policy_attachment" "ebs_csi" {
  role       = aws_iam_role.system["ebs-csi"].name
  policy_arn = "${local.arn}:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy"
}

data "aws_iam_policy_document" "autoscaler" {
  statement {
    # None of these can be narrowed to a group.
    actions = [
      "autoscaling:DescribeAutoScalingGroups",
      "autoscaling:DescribeAutoScalingInstances",
      "autoscaling:DescribeLaunchConfigurations",
      "autoscaling:DescribeScalingActivities",
      "autoscaling:DescribeTags",
      "ec2:DescribeImages",
      "ec2:DescribeInstanceTypes",
      "ec2:DescribeLaunchTemplateVersions",
      "ec2:GetInstanceTypesFromInstanceRequirements",
    ]
    resources = ["*"]
  }
  statement {
    # How it knows the labels and taints of a pool that has no node now.
    actions   = ["eks:DescribeNodegroup"]
    resources = ["${local.arn}:eks:${var.region}:${local.account_id}:nodegroup/${local.full_name}/*/*"]
  }
  statement {
    actions   = ["autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup"]
    resources = ["*"]
    # EKS puts this tag on the groups behind its node groups.
    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/eks:cluster-name"
      values   = [local.full_name]
    }
  }
}

resource "aws_iam_role_policy" "autoscaler" {
  name   = "node-groups"
  role   = aws_iam_role.system["autoscaler"].name
  policy = data.aws_iam_policy_document.autoscaler.json
}

resource "aws_eks_pod_identity_association" "system" {
  for_each = local.system_accounts

  cluster_name    = aws_eks_cluster.this.name
  namespace       = "kube-system"
  service_account = each.value
  role_arn        = aws_iam_role.system[each.key].arn
  tags            = local.tags
}
