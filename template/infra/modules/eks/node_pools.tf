# The nodes. A managed group does not grow by itself: identities.tf has the autoscaler's role, and
# platform/eks the autoscaler.

data "aws_iam_policy_document" "assumed_by_ec2" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "nodes" {
  name               = "${local.full_name}-nodes"
  assume_role_policy = data.aws_iam_policy_document.assumed_by_ec2.json
  tags               = local.tags
}

# What a node itself needs, and no pod of ours gets: those have identities of their own.
resource "aws_iam_role_policy_attachment" "nodes" {
  for_each = toset([
    "AmazonEKSWorkerNodePolicy",
    "AmazonEKS_CNI_Policy",
    "AmazonEC2ContainerRegistryPullOnly",
  ])

  role       = aws_iam_role.nodes.name
  policy_arn = "${local.arn}:iam::aws:policy/${each.key}"
}

resource "aws_launch_template" "nodes" {
  for_each = var.node_pools

  name = "${local.full_name}-${each.key}"
  tags = local.tags

  block_device_mappings {
    device_name = "/dev/xvda"
    ebs {
      volume_size           = each.value.disk_gb
      volume_type           = "gp3"
      encrypted             = true
      delete_on_termination = true
    }
  }

  metadata_options {
    http_tokens = "required"
    # One hop is the node itself: a pod cannot take the node's credentials.
    http_put_response_hop_limit = 1
  }

  dynamic "tag_specifications" {
    for_each = ["instance", "volume"]
    content {
      resource_type = tag_specifications.value
      tags          = merge(local.tags, { Name = "${local.full_name}-${each.key}" })
    }
  }
}

resource "aws_eks_node_group" "this" {
  for_each = var.node_pools

  cluster_name    = aws_eks_cluster.this.name
  node_group_name = each.key
  node_role_arn   = aws_iam_role.nodes.arn
  subnet_ids      = [for subnet in aws_subnet.nodes : subnet.id]
  version         = aws_eks_cluster.this.version
  capacity_type   = each.value.spot ? "SPOT" : "ON_DEMAND"
  ami_type        = each.value.gpu == null ? "AL2023_x86_64_STANDARD" : "AL2023_x86_64_NVIDIA"
  instance_types = (
    length(each.value.instance_types) > 0 ? each.value.instance_types :
    each.value.gpu != null ? [local.gpu_instance_types[each.value.gpu.type][each.value.gpu.count]] :
    local.default_instance_types[each.value.spot ? "spot" : "on_demand"]
  )
  # By the second the autoscaler knows that a node is not there before its GPUs are, and adds no other.
  labels = merge(
    local.pool_labels[each.key],
    each.value.gpu == null ? {} : { "k8s.amazonaws.com/accelerator" = each.value.gpu.type },
  )
  tags = local.tags

  launch_template {
    id      = aws_launch_template.nodes[each.key].id
    version = aws_launch_template.nodes[each.key].latest_version
  }

  scaling_config {
    min_size     = each.value.min
    max_size     = each.value.max
    desired_size = each.value.min
  }

  update_config {
    max_unavailable_percentage = 33
  }

  dynamic "taint" {
    for_each = local.pool_taints[each.key]
    content {
      key    = taint.value.key
      value  = taint.value.value
      effect = local.taint_effects[taint.value.effect]
    }
  }

  lifecycle {
    # The autoscaler's from the first day on.
    ignore_changes = [scaling_config[0].desired_size]
  }

  depends_on = [
    aws_iam_role_policy_attachment.nodes,
    aws_eks_addon.before_nodes,
    aws_route.nat,
  ]
}

locals {
  pool_labels = {
    for name, pool in var.node_pools : name => merge(pool.labels, { pool = name }, pool.gpu == null ? {} : { gpu = pool.gpu.type })
  }
  pool_taints = {
    for name, pool in var.node_pools : name => concat(
      pool.taints,
      pool.gpu == null ? [] : [{ key = "nvidia.com/gpu", value = "present", effect = "NoSchedule" }],
    )
  }
  taint_effects = {
    NoSchedule       = "NO_SCHEDULE"
    PreferNoSchedule = "PREFER_NO_SCHEDULE"
    NoExecute        = "NO_EXECUTE"
  }
}
