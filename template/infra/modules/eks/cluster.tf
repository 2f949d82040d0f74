# The control plane, who may call it, and the add-ons without which no node is of use.

resource "aws_cloudwatch_log_group" "cluster" {
  # EKS writes to this name; made by EKS itself it would never expire and not be under our key.
  name              = "/aws/eks/${local.full_name}/cluster"
  retention_in_days = 365
  kms_key_id        = aws_kms_key.this.arn
  tags              = local.tags
}

data "aws_iam_policy_document" "assumed_by_eks" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["eks.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "cluster" {
  name               = "${local.full_name}-cluster"
  assume_role_policy = data.aws_iam_policy_document.assumed_by_eks.json
  tags               = local.tags
}

resource "aws_iam_role_policy_attachment" "cluster" {
  role       = aws_iam_role.cluster.name
  policy_arn = "${local.arn}:iam::aws:policy/AmazonEKSClusterPolicy"
}

resource "aws_eks_cluster" "this" {
  name                      = local.full_name
  version                   = var.kubernetes_version
  role_arn                  = aws_iam_role.cluster.arn
  enabled_cluster_log_types = ["api", "audit", "authenticator", "controllerManager", "scheduler"]
  # The add-ons below are ours: those that EKS puts in by itself nobody upgrades.
  bootstrap_self_managed_addons = false
  tags                          = local.tags

  # No security group of ours: nodes share the one that EKS makes with the control plane, where all
  # may talk to all. So admission webhooks are reached on whatever port they have, Istio's 15017 too.
  vpc_config {
    subnet_ids              = [for subnet in aws_subnet.private : subnet.id]
    endpoint_private_access = true
    endpoint_public_access  = var.api_access.public
    public_access_cidrs     = var.api_access.public ? var.api_access.authorized_cidrs : null
  }

  kubernetes_network_config {
    service_ipv4_cidr = var.network.services_cidr
  }

  access_config {
    authentication_mode = "API"
    # Whoever applies would otherwise be an administrator for ever, and unseen.
    bootstrap_cluster_creator_admin_permissions = false
  }

  upgrade_policy {
    support_type = upper(var.upgrade_policy)
  }

  encryption_config {
    resources = ["secrets"]
    provider {
      key_arn = aws_kms_key.this.arn
    }
  }

  depends_on = [
    aws_cloudwatch_log_group.cluster,
    # Without it EKS cannot remove its network interfaces, and a destroy hangs.
    aws_iam_role_policy_attachment.cluster,
  ]
}

resource "aws_eks_access_entry" "admins" {
  for_each = toset(var.api_access.admins)

  cluster_name  = aws_eks_cluster.this.name
  principal_arn = each.key
  tags          = local.tags
}

resource "aws_eks_access_policy_association" "admins" {
  for_each = aws_eks_access_entry.admins

  cluster_name  = aws_eks_cluster.this.name
  principal_arn = each.value.principal_arn
  policy_arn    = "${local.arn}:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"

  access_scope {
    type = "cluster"
  }
}

locals {
  addons = {
    before_nodes = ["vpc-cni", "kube-proxy", "eks-pod-identity-agent"]
    after_nodes  = ["coredns", "aws-ebs-csi-driver", "metrics-server"]
  }
}

# Those that AWS gives this version of Kubernetes: else an upgrade would leave them behind.
data "aws_eks_addon_version" "this" {
  for_each = toset(flatten(values(local.addons)))

  addon_name         = each.key
  kubernetes_version = var.kubernetes_version
}

# Before the nodes: without the network plugin none becomes ready.
resource "aws_eks_addon" "before_nodes" {
  for_each = toset(local.addons.before_nodes)

  cluster_name                = aws_eks_cluster.this.name
  addon_name                  = each.key
  addon_version               = data.aws_eks_addon_version.this[each.key].version
  resolve_conflicts_on_update = "OVERWRITE"
  # Network policies are the plugin's own; off, a NetworkPolicy would be taken and do nothing.
  configuration_values = each.key == "vpc-cni" ? jsonencode({ enableNetworkPolicy = "true" }) : null
  tags                 = local.tags
}

# After the nodes: their pods need one to run on.
resource "aws_eks_addon" "after_nodes" {
  for_each = toset(local.addons.after_nodes)

  cluster_name                = aws_eks_cluster.this.name
  addon_name                  = each.key
  addon_version               = data.aws_eks_addon_version.this[each.key].version
  resolve_conflicts_on_update = "OVERWRITE"
  tags                        = local.tags

  depends_on = [aws_eks_node_group.this, aws_eks_pod_identity_association.system]
}
