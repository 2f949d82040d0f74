# The images, all in one repository. Their tags are hashes of what is in them, so none is ever moved.

resource "google_artifact_registry_repository" "this" {
  repository_id = local.full_name
  location      = var.region
  format        = "DOCKER"
  description   = "Images of ${local.full_name}"
  kms_key_name  = google_kms_crypto_key.this.id
  labels        = local.labels

  docker_config {
    immutable_tags = true
  }

  vulnerability_scanning_config {
    enablement_config = var.registry.scan ? "INHERITED" : "DISABLED"
  }

  # What a rule keeps no rule deletes.
  cleanup_policies {
    id     = "keep-what-was-released"
    action = "KEEP"
    condition {
      tag_state    = "TAGGED"
      tag_prefixes = ["released-"]
    }
  }
  cleanup_policies {
    id     = "keep-the-newest"
    action = "KEEP"
    most_recent_versions {
      keep_count = var.registry.keep_tags
    }
  }
  cleanup_policies {
    id     = "delete-the-others"
    action = "DELETE"
    condition {
      tag_state  = "ANY"
      older_than = "604800s"
    }
  }

  depends_on = [google_kms_crypto_key_iam_member.services]
}
