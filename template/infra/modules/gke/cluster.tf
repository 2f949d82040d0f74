# The control plane, and who may call it.

resource "google_container_cluster" "this" {
  name     = local.full_name
  location = var.region
  # All of the region's control planes, and nodes in these zones.
  node_locations = var.zones
  # The least: the channel upgrades by itself beyond it, and nothing is downgraded.
  min_master_version  = var.kubernetes_version
  deletion_protection = var.deletion_protection
  resource_labels     = local.labels

  network           = google_compute_network.this.id
  subnetwork        = google_compute_subnetwork.nodes.id
  networking_mode   = "VPC_NATIVE"
  datapath_provider = "ADVANCED_DATAPATH"
  # Pods of one node reach each other by the network, so that flow logs and policies see it.
  enable_intranode_visibility = true
  enable_shielded_nodes       = true

  # The pools are resources of their own (node_pools.tf); GKE wants one to begin with.
  remove_default_node_pool = true
  initial_node_count       = 1

  node_config {
    # Of the pool that is removed at once: no default account, even for these minutes.
    service_account = google_service_account.nodes.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]

    workload_metadata_config {
      mode = "GKE_METADATA"
    }
    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
  }

  ip_allocation_policy {
    cluster_secondary_range_name  = "pods"
    services_secondary_range_name = "services"
  }

  private_cluster_config {
    enable_private_nodes    = true
    enable_private_endpoint = !var.api_access.public
    master_ipv4_cidr_block  = local.control_plane_cidr
  }

  master_authorized_networks_config {
    # Else every machine of Google Cloud, of any customer, is let through to log in.
    gcp_public_cidrs_access_enabled = false

    dynamic "cidr_blocks" {
      for_each = var.api_access.authorized_cidrs
      content {
        cidr_block = cidr_blocks.value
      }
    }
  }

  master_auth {
    client_certificate_config {
      issue_client_certificate = false
    }
  }

  release_channel {
    channel = var.upgrade_policy == "extended" ? "EXTENDED" : "REGULAR"
  }

  maintenance_policy {
    # Weekend nights, in UTC: training runs for hours, and a drained node ends it.
    recurring_window {
      start_time = "2026-01-04T01:00:00Z"
      end_time   = "2026-01-04T07:00:00Z"
      recurrence = "FREQ=WEEKLY;BYDAY=SA,SU"
    }
  }

  workload_identity_config {
    workload_pool = "${local.project}.svc.id.goog"
  }

  database_encryption {
    state    = "ENCRYPTED"
    key_name = google_kms_crypto_key.this.id
  }

  # Anyone logged in to anything would else be somebody here.
  rbac_binding_config {
    enable_insecure_binding_system_authenticated   = false
    enable_insecure_binding_system_unauthenticated = false
  }

  addons_config {
    gce_persistent_disk_csi_driver_config {
      enabled = true
    }
    gcs_fuse_csi_driver_config {
      enabled = true
    }
    dns_cache_config {
      enabled = true
    }
  }

  cost_management_config {
    enabled = true
  }

  logging_config {
    enable_components = ["SYSTEM_COMPONENTS", "WORKLOADS", "APISERVER", "CONTROLLER_MANAGER", "SCHEDULER"]
  }

  monitoring_config {
    enable_components = ["SYSTEM_COMPONENTS"]
    managed_prometheus {
      enabled = true
    }
  }

  security_posture_config {
    mode = "BASIC"
  }

  lifecycle {
    # Of the pool that is gone.
    ignore_changes = [node_config]
  }

  depends_on = [google_kms_crypto_key_iam_member.services]
}

# Kubernetes' own roles are asked first; whoever has this one may do everything, in each cluster of
# the project. A project has one cluster.
resource "google_project_iam_member" "admins" {
  for_each = toset(var.api_access.admins)

  project = local.project
  role    = "roles/container.admin"
  member  = each.key
}
