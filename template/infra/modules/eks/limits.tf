# What this cloud has of its own, for the rules of variables.tf.

locals {
  region_pattern = "^[a-z]{2}(-[a-z]+)+-[0-9]$"
  region_example = "us-east-1"

  admin_pattern = "^arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/.+$"
  admin_example = "arn:aws:iam::123456789012:role/ml-admins"

  reader_pattern = "^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]+$"
  reader_example = "arn:aws:iam::123456789012:role/ducks-prod-ci"
  source_pattern = "^s3://[a-z0-9.-]+ [0-9]{12}\\.dkr\\.ecr\\.[a-z0-9-]+\\.amazonaws\\.com(\\.cn)?/[a-z0-9._/-]+$"
  source_rule    = "write model_store as in s3://ducks-nonprod-models-123456789012, and registry as in 123456789012.dkr.ecr.us-east-1.amazonaws.com/ducks-nonprod"

  # EKS puts its control plane into the network's own block.
  reserved_cidrs = []

  # A spot pool lives off having several to choose from.
  instance_types_per_pool = 20

  # The smallest machine by type and count of its GPUs.
  gpu_instance_types = {
    t4   = { 1 = "g4dn.xlarge", 4 = "g4dn.12xlarge", 8 = "g4dn.metal" }
    a10g = { 1 = "g5.xlarge", 4 = "g5.12xlarge", 8 = "g5.48xlarge" }
    l4   = { 1 = "g6.xlarge", 4 = "g6.12xlarge", 8 = "g6.48xlarge" }
    l40s = { 1 = "g6e.xlarge", 4 = "g6e.12xlarge", 8 = "g6e.48xlarge" }
    a100 = { 8 = "p4d.24xlarge" }
    h100 = { 1 = "p5.4xlarge", 8 = "p5.48xlarge" }
  }

  # All of 4 CPUs and 16 GiB: the autoscaler takes the nodes of a pool for equal.
  default_instance_types = {
    on_demand = ["m7i.xlarge"]
    spot      = ["m7i.xlarge", "m7a.xlarge", "m6i.xlarge", "m6a.xlarge", "m5.xlarge", "m5a.xlarge"]
  }
}
