# What the other files build on: names, labels, the project, and the key that everything is kept under.

data "google_client_config" "this" {}

data "google_project" "this" {
  project_id = data.google_client_config.this.project
}

locals {
  full_name  = "${var.name}-${var.environment}"
  project    = data.google_client_config.this.project
  number     = data.google_project.this.number
  short_hash = substr(sha256("${data.google_client_config.this.project}/${var.name}-${var.environment}"), 0, 8)

  labels = merge(var.labels, {
    name        = local.full_name
    environment = var.environment
    managed-by  = "terraform"
  })
}

# One key for Secrets in etcd, nodes' disks, both buckets, the images and the database.
resource "google_kms_key_ring" "this" {
  # A ring can never be deleted, and its name never be used again: the hash tells two lives apart
  # only by project, so a cluster made anew under its old name imports the ring that is there.
  name     = "${local.full_name}-${local.short_hash}"
  location = var.region
}

resource "google_kms_crypto_key" "this" {
  name            = "cluster"
  key_ring        = google_kms_key_ring.this.id
  rotation_period = "7776000s"
  labels          = local.labels

  lifecycle {
    # With it everything that it encrypts is lost. A teardown takes it out of the state first.
    prevent_destroy = true
  }
}

# Asking for it makes it.
data "google_storage_project_service_account" "this" {}

# The service agents by which each service encrypts. GKE's and Compute Engine's come with the
# service; docs/cluster-on-google-cloud.md makes those of images and the database.
resource "google_kms_crypto_key_iam_member" "services" {
  for_each = merge({
    gke     = "service-${local.number}@container-engine-robot.iam.gserviceaccount.com"
    disks   = "service-${local.number}@compute-system.iam.gserviceaccount.com"
    buckets = data.google_storage_project_service_account.this.email_address
    images  = "service-${local.number}@gcp-sa-artifactregistry.iam.gserviceaccount.com"
    }, var.metadata_db.enabled ? {
    database = "service-${local.number}@gcp-sa-cloud-sql.iam.gserviceaccount.com"
  } : {})

  crypto_key_id = google_kms_crypto_key.this.id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:${each.value}"
}
