# Every part that is left out unless it is asked for.

mock_provider "google" {
  source = "./tests/mocks"
}

variables {
  name        = "ducks"
  environment = "prod"
  region      = "europe-west4"
  zones       = ["europe-west4-a", "europe-west4-b", "europe-west4-c"]
}

run "a_public_api_for_named_networks" {
  command = plan

  variables {
    api_access = {
      public           = true
      authorized_cidrs = ["203.0.113.0/24"]
      admins           = ["group:ml-admins@example.com"]
    }
  }

  assert {
    condition     = [for block in google_container_cluster.this.master_authorized_networks_config[0].cidr_blocks : block.cidr_block] == ["203.0.113.0/24"] && !google_container_cluster.this.private_cluster_config[0].enable_private_endpoint
    error_message = "Others reach the API too, or none does."
  }
  assert {
    condition     = google_project_iam_member.admins["group:ml-admins@example.com"].role == "roles/container.admin"
    error_message = "The administrators are none."
  }
}

run "a_database" {
  command = plan

  variables {
    metadata_db = { enabled = true, tier = "medium", backup_days = 14, high_availability = true }
  }

  assert {
    condition     = google_sql_database_instance.metadata_db["this"].settings[0].tier == "db-custom-2-8192" && google_sql_database_instance.metadata_db["this"].settings[0].availability_type == "REGIONAL"
    error_message = "The database is another than was asked for."
  }
  assert {
    condition     = google_sql_database_instance.metadata_db["this"].settings[0].ip_configuration[0].ipv4_enabled == false && google_sql_database_instance.metadata_db["this"].deletion_protection
    error_message = "The database is open, or can be deleted."
  }
}

run "identities" {
  command = plan

  variables {
    workload_identities = {
      pipelines = {
        namespace        = "kubeflow"
        service_accounts = ["ducks-pipeline"]
        bucket_access    = { artifact_store = "write", model_store = "read" }
      }
    }
    ci_identity = { repository_id = "1", repository_owner_id = "2", environments = ["prod"] }
  }

  assert {
    condition = { for name, member in google_storage_bucket_iam_member.workload : name => member.role } == {
      "pipelines/ducks-pipeline/artifact_store" = "roles/storage.objectUser"
      "pipelines/ducks-pipeline/model_store"    = "roles/storage.objectViewer"
    }
    error_message = "The service account has other rights than were asked for."
  }
  assert {
    condition     = endswith(google_storage_bucket_iam_member.workload["pipelines/ducks-pipeline/model_store"].member, "/subject/ns/kubeflow/sa/ducks-pipeline")
    error_message = "Another service account has the rights."
  }
  assert {
    condition = { for name, member in google_storage_bucket_iam_member.ci : name => member.role } == {
      # To write an object anew takes the right to delete it.
      read_artifacts = "roles/storage.objectViewer"
      read_models    = "roles/storage.objectViewer"
      release_models = "roles/storage.objectUser"
    }
    error_message = "CI has other rights in the buckets than releasing takes."
  }
  assert {
    condition     = endswith(google_service_account_iam_member.ci["prod"].member, "/attribute.place/2/1/prod")
    error_message = "Any repository may push."
  }
  assert {
    condition     = google_project_iam_member.ci["ci"].role == "roles/container.clusterViewer" && output.ci.subject.kind == "User"
    error_message = "CI may do more on the cluster than be known there, or nothing."
  }
}

run "who_reads_for_another_cluster" {
  command = plan

  variables {
    environment = "nonprod"
    promotion   = { readers = ["ci-0123abcd@ducks-prod.iam.gserviceaccount.com"] }
  }

  assert {
    condition = [for member in google_storage_bucket_iam_member.readers : [member.bucket, member.role, member.member]] == [
      [google_storage_bucket.this["model_store"].name, "roles/storage.objectViewer", "serviceAccount:ci-0123abcd@ducks-prod.iam.gserviceaccount.com"]
    ]
    error_message = "It cannot read the models, or may do more."
  }
  assert {
    condition = [for member in google_artifact_registry_repository_iam_member.readers : [member.role, member.member]] == [
      ["roles/artifactregistry.reader", "serviceAccount:ci-0123abcd@ducks-prod.iam.gserviceaccount.com"]
    ]
    error_message = "It cannot pull the images, or may do more."
  }
}

run "images" {
  command = plan

  variables {
    registry = { repositories = ["ducks-train"], keep_tags = 7, scan = false }
  }

  assert {
    condition     = google_artifact_registry_repository.this.docker_config[0].immutable_tags
    error_message = "A tag can be moved."
  }
  assert {
    condition = { for policy in google_artifact_registry_repository.this.cleanup_policies : policy.id => policy.action } == {
      keep-what-was-released = "KEEP"
      keep-the-newest        = "KEEP"
      delete-the-others      = "DELETE"
    }
    error_message = "What was released is not kept."
  }
  assert {
    condition     = output.registry.repositories["ducks-train"] == "europe-west4-docker.pkg.dev/pond-ml/ducks-prod/ducks-train"
    error_message = "The output does not name the image."
  }
}

run "nothing_of_its_own_survives_unprotected" {
  command = plan

  variables {
    deletion_protection = false
    upgrade_policy      = "extended"
    artifact_store      = { force_destroy = true, versioning = false }
  }

  assert {
    condition     = !google_container_cluster.this.deletion_protection && google_storage_bucket.this["artifact_store"].force_destroy && !google_storage_bucket.this["model_store"].force_destroy
    error_message = "Protection is not what was asked for."
  }
  assert {
    condition     = google_container_cluster.this.release_channel[0].channel == "EXTENDED"
    error_message = "The version's support is not extended."
  }
}
