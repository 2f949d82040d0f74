# The nodes. GKE's own autoscaler adds and removes them.

resource "google_service_account" "nodes" {
  # 30 characters at most, so not after the cluster.
  account_id   = "gke-nodes-${local.short_hash}"
  display_name = "Nodes of ${local.full_name}"
}

# What a node itself needs, and no pod of ours gets: those have identities of their own.
resource "google_project_iam_member" "nodes" {
  project = local.project
  role    = "roles/container.defaultNodeServiceAccount"
  member  = google_service_account.nodes.member
}

resource "google_artifact_registry_repository_iam_member" "nodes" {
  location   = google_artifact_registry_repository.this.location
  repository = google_artifact_registry_repository.this.name
  role       = "roles/artifactregistry.reader"
  member     = google_service_account.nodes.member
}

resource "google_container_node_pool" "this" {
  for_each = var.node_pools

  name     = each.key
  cluster  = google_container_cluster.this.id
  location = var.region

  # Of the whole pool, as the interface means it, and not of each zone.
  autoscaling {
    total_min_node_count = each.value.min
    total_max_node_count = each.value.max
    # Spot and GPUs are had where there are some; other pools spread evenly.
    location_policy = each.value.spot || each.value.gpu != null ? "ANY" : "BALANCED"
  }

  management {
    auto_repair  = true
    auto_upgrade = true
  }

  upgrade_settings {
    # A machine with a GPU is seldom to be had beside the one it takes the place of.
    max_surge       = each.value.gpu == null ? 1 : 0
    max_unavailable = each.value.gpu == null ? 0 : 1
  }

  node_config {
    machine_type = (
      length(each.value.instance_types) > 0 ? each.value.instance_types[0] :
      each.value.gpu != null ? local.gpu_instance_types[each.value.gpu.type][each.value.gpu.count] :
      local.default_instance_type
    )
    spot              = each.value.spot
    image_type        = "COS_CONTAINERD"
    disk_size_gb      = each.value.disk_gb
    disk_type         = "pd-balanced"
    boot_disk_kms_key = google_kms_crypto_key.this.id
    service_account   = google_service_account.nodes.email
    # What the node may do is its account's roles; scopes are from before there were any.
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    labels          = local.pool_labels[each.key]
    resource_labels = local.labels

    workload_metadata_config {
      mode = "GKE_METADATA"
    }

    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }

    kubelet_config {
      insecure_kubelet_readonly_port_enabled = "FALSE"
    }

    # Images start before they are whole.
    gcfs_config {
      enabled = true
    }

    dynamic "guest_accelerator" {
      for_each = each.value.gpu == null ? [] : [each.value.gpu]
      content {
        type  = local.gpu_types[guest_accelerator.value.type]
        count = guest_accelerator.value.count
        gpu_driver_installation_config {
          gpu_driver_version = "DEFAULT"
        }
      }
    }

    dynamic "taint" {
      for_each = local.pool_taints[each.key]
      content {
        key    = taint.value.key
        value  = taint.value.value
        effect = local.taint_effects[taint.value.effect]
      }
    }
  }

  lifecycle {
    # Follows the channel.
    ignore_changes = [version]
  }
}

locals {
  pool_labels = {
    for name, pool in var.node_pools : name => merge(pool.labels, { pool = name }, pool.gpu == null ? {} : { gpu = pool.gpu.type })
  }
  # GKE adds the GPU's taint by itself, but only where the pool is made with other nodes beside it;
  # said here, it is there in any case, and in the outputs.
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
