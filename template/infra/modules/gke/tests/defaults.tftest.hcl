# What a cluster is when only what has no default is said. No account is needed.

mock_provider "google" {
  source = "./tests/mocks"
}

variables {
  name        = "ducks"
  environment = "nonprod"
  region      = "europe-west4"
  zones       = ["europe-west4-a", "europe-west4-b", "europe-west4-c"]
}

run "the_api_is_private" {
  command = plan

  assert {
    condition     = google_container_cluster.this.private_cluster_config[0].enable_private_endpoint == true && google_container_cluster.this.private_cluster_config[0].enable_private_nodes == true
    error_message = "The API or a node can be reached from outside."
  }
  assert {
    condition     = google_container_cluster.this.deletion_protection == true
    error_message = "The cluster can be deleted."
  }
  assert {
    condition     = google_container_cluster.this.datapath_provider == "ADVANCED_DATAPATH" && google_container_cluster.this.networking_mode == "VPC_NATIVE" && google_container_cluster.this.release_channel[0].channel == "REGULAR"
    error_message = "The cluster is not of the kind that its network policies need."
  }
  assert {
    condition     = google_container_cluster.this.workload_identity_config[0].workload_pool == "pond-ml.svc.id.goog"
    error_message = "Pods have no identity."
  }
  assert {
    condition     = toset(tolist(google_compute_firewall.webhooks.allow)[0].ports) == toset(["8443", "9443", "15017"])
    error_message = "The control plane does not reach a webhook."
  }
}

run "the_pools" {
  command = plan

  assert {
    condition     = !google_container_node_pool.this["system"].node_config[0].spot && length(google_container_node_pool.this["system"].node_config[0].taint) == 0
    error_message = "The system pool has to be on demand and untainted."
  }
  assert {
    condition     = alltrue([for name in ["cpu", "gpu"] : google_container_node_pool.this[name].node_config[0].spot && google_container_node_pool.this[name].autoscaling[0].total_min_node_count == 0])
    error_message = "The other pools have to be spot, from no node on."
  }
  assert {
    condition     = [for taint in google_container_node_pool.this["gpu"].node_config[0].taint : "${taint.key}:${taint.effect}"] == ["nvidia.com/gpu:NO_SCHEDULE"]
    error_message = "Any pod gets onto a node with a GPU."
  }
  assert {
    condition     = google_container_node_pool.this["gpu"].node_config[0].guest_accelerator[0].type == "nvidia-l4" && google_container_node_pool.this["gpu"].node_config[0].machine_type == "g2-standard-8"
    error_message = "The GPU pool has no GPU."
  }
  assert {
    condition     = alltrue([for pool in google_container_node_pool.this : pool.node_config[0].workload_metadata_config[0].mode == "GKE_METADATA"])
    error_message = "A pod can take its node's credentials."
  }
  assert {
    condition     = output.node_pools["gpu"].tolerations[0].key == "nvidia.com/gpu" && output.node_pools["cpu"].selector == { pool = "cpu" }
    error_message = "The outputs do not say how a pod gets to a pool."
  }
}

run "what_nobody_asked_for_is_not_made" {
  command = plan

  assert {
    condition     = length(google_storage_bucket_iam_member.readers) == 0 && length(google_artifact_registry_repository_iam_member.readers) == 0
    error_message = "Another cluster's workflows may read here."
  }
  assert {
    condition     = length(google_sql_database_instance.metadata_db) == 0 && output.metadata_db == null
    error_message = "There is a database."
  }
  assert {
    condition     = length(google_service_account.ci) == 0 && output.ci == null
    error_message = "There is an identity for CI."
  }
  assert {
    condition     = alltrue([for bucket in google_storage_bucket.this : bucket.force_destroy == false && bucket.public_access_prevention == "enforced"])
    error_message = "A destroy takes a bucket's content, or the bucket is public."
  }
}
