# Where runs write, and where models stay.

locals {
  buckets = {
    artifact_store = merge(var.artifact_store, { name = "${local.full_name}-artifacts-${local.short_hash}" })
    model_store    = merge(var.model_store, { name = "${local.full_name}-models-${local.short_hash}", retention_days = null })
  }
}

resource "google_storage_bucket" "this" {
  for_each = local.buckets

  name                        = each.value.name
  location                    = var.region
  force_destroy               = each.value.force_destroy
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  labels                      = local.labels

  versioning {
    enabled = each.value.versioning
  }

  encryption {
    default_kms_key_name = google_kms_crypto_key.this.id
  }

  # A model never expires: only uploads that were broken off do.
  lifecycle_rule {
    condition {
      age = 7
    }
    action {
      type = "AbortIncompleteMultipartUpload"
    }
  }

  dynamic "lifecycle_rule" {
    for_each = each.value.retention_days == null ? [] : [
      { age = each.value.retention_days },
      { days_since_noncurrent_time = 7 },
    ]
    content {
      condition {
        age                        = try(lifecycle_rule.value.age, null)
        days_since_noncurrent_time = try(lifecycle_rule.value.days_since_noncurrent_time, null)
        with_state                 = can(lifecycle_rule.value.age) ? "LIVE" : "ARCHIVED"
      }
      action {
        type = "Delete"
      }
    }
  }

  depends_on = [google_kms_crypto_key_iam_member.services]
}
