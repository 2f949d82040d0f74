# What a cluster is when only what has no default is said. No account is needed.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name        = "ducks"
  environment = "nonprod"
  region      = "us-east-1"
  zones       = ["us-east-1a", "us-east-1b", "us-east-1c"]
}

run "the_api_is_private" {
  command = plan

  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].endpoint_public_access == false
    error_message = "The API can be reached from outside."
  }
  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].endpoint_private_access == true
    error_message = "The API cannot be reached from inside."
  }
  assert {
    condition     = aws_eks_cluster.this.access_config[0].bootstrap_cluster_creator_admin_permissions == false
    error_message = "Whoever applies is an administrator for ever."
  }
  assert {
    condition     = length(aws_eks_cluster.this.enabled_cluster_log_types) == 5
    error_message = "A log of the control plane is not kept."
  }
}

run "the_pools" {
  command = plan

  assert {
    condition     = aws_eks_node_group.this["system"].capacity_type == "ON_DEMAND" && length(aws_eks_node_group.this["system"].taint) == 0
    error_message = "The system pool has to be on demand and untainted."
  }
  assert {
    condition     = alltrue([for name in ["cpu", "gpu"] : aws_eks_node_group.this[name].capacity_type == "SPOT" && aws_eks_node_group.this[name].scaling_config[0].min_size == 0])
    error_message = "The other pools have to be spot, from no node on."
  }
  assert {
    condition     = [for taint in aws_eks_node_group.this["gpu"].taint : "${taint.key}:${taint.effect}"] == ["nvidia.com/gpu:NO_SCHEDULE"]
    error_message = "Any pod gets onto a node with a GPU."
  }
  assert {
    condition     = aws_eks_node_group.this["gpu"].ami_type == "AL2023_x86_64_NVIDIA" && tolist(aws_eks_node_group.this["gpu"].instance_types) == tolist(["g6.xlarge"])
    error_message = "The GPU pool has no GPU."
  }
  assert {
    condition = alltrue([
      for template in aws_launch_template.nodes :
      template.metadata_options[0].http_put_response_hop_limit == 1 && template.metadata_options[0].http_tokens == "required"
    ])
    error_message = "A pod can take its node's credentials."
  }
  assert {
    condition     = aws_eks_node_group.this["gpu"].labels["k8s.amazonaws.com/accelerator"] == "l4" && !contains(keys(aws_eks_node_group.this["cpu"].labels), "k8s.amazonaws.com/accelerator")
    error_message = "The autoscaler would add machines until the first GPU is known."
  }
  assert {
    condition     = output.node_pools["gpu"].tolerations[0].key == "nvidia.com/gpu" && output.node_pools["cpu"].selector == { pool = "cpu" }
    error_message = "The outputs do not say how a pod gets to a pool."
  }
}

run "what_nobody_asked_for_is_not_made" {
  command = plan

  assert {
    condition     = length(aws_ecr_repository_policy.readers) == 0 && length(aws_iam_role_policy.source) == 0 && length(data.aws_iam_policy_document.key.statement) == 2
    error_message = "Another cluster's workflows may read here."
  }
  assert {
    condition     = length(aws_db_instance.metadata_db) == 0 && output.metadata_db == null
    error_message = "There is a database."
  }
  assert {
    condition     = length(aws_iam_role.ci) == 0 && output.ci == null
    error_message = "There is an identity for CI."
  }
  assert {
    condition     = length(aws_nat_gateway.this) == 1
    error_message = "There is more than one NAT gateway."
  }
  assert {
    condition     = alltrue([for bucket in aws_s3_bucket.this : bucket.force_destroy == false])
    error_message = "A destroy takes a bucket's content."
  }
}

run "the_add_ons" {
  command = plan

  assert {
    condition     = toset(concat(keys(aws_eks_addon.before_nodes), keys(aws_eks_addon.after_nodes))) == toset(["vpc-cni", "kube-proxy", "eks-pod-identity-agent", "coredns", "aws-ebs-csi-driver", "metrics-server"])
    error_message = "The cluster lacks an add-on without which nodes or disks do not work."
  }
  assert {
    condition     = alltrue([for addon in merge(aws_eks_addon.before_nodes, aws_eks_addon.after_nodes) : addon.addon_version == "v1.2.3-eksbuild.1"])
    error_message = "An add-on is not of the version that goes with Kubernetes'."
  }
}
