# What this cloud has of its own, for the rules of variables.tf.

locals {
  region_pattern = "^[a-z]+-[a-z]+[0-9]+$"
  region_example = "europe-west4"

  admin_pattern = "^(user|group|serviceAccount):[^@ ]+@[^@ ]+$"
  admin_example = "group:ml-admins@example.com"

  reader_pattern = "^[a-z][a-z0-9-]+@[a-z0-9.-]+\\.iam\\.gserviceaccount\\.com$"
  reader_example = "ci-0123abcd@ducks-prod.iam.gserviceaccount.com"
  # Only the owner of what is read says who may: nothing is a source.
  source_pattern = "^$"
  source_rule    = "on Google Cloud there is none: name this cluster's output ci.identity in promotion.readers of nonprod"

  # Where the control plane is, which no other block may overlap.
  control_plane_cidr = "172.31.255.240/28"
  reserved_cidrs     = [local.control_plane_cidr]

  # A node pool of GKE is of one kind of machine.
  instance_types_per_pool = 1

  # The machine by type and count of its GPUs. An N1 takes any GPU it is given; the others have theirs.
  gpu_instance_types = {
    t4   = { 1 = "n1-standard-4", 2 = "n1-standard-8", 4 = "n1-standard-16" }
    l4   = { 1 = "g2-standard-8", 2 = "g2-standard-24", 4 = "g2-standard-48", 8 = "g2-standard-96" }
    a100 = { 1 = "a2-highgpu-1g", 2 = "a2-highgpu-2g", 4 = "a2-highgpu-4g", 8 = "a2-highgpu-8g" }
    h100 = { 1 = "a3-highgpu-1g", 2 = "a3-highgpu-2g", 4 = "a3-highgpu-4g", 8 = "a3-highgpu-8g" }
  }
  # What Google Cloud calls them.
  gpu_types = {
    t4   = "nvidia-tesla-t4"
    l4   = "nvidia-l4"
    a100 = "nvidia-tesla-a100"
    h100 = "nvidia-h100-80gb"
  }

  # 4 CPUs and 16 GiB.
  default_instance_type = "e2-standard-4"
}
