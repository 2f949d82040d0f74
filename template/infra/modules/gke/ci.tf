# What GitHub's workflows may do here: push images and release models. `bootstrap` made the
# project's trust in GitHub.

locals {
  ci          = var.ci_identity == null ? {} : { ci = var.ci_identity }
  github_pool = "projects/${local.number}/locations/global/workloadIdentityPools/github"
}

resource "google_service_account" "ci" {
  for_each = local.ci

  account_id   = "ci-${local.short_hash}"
  display_name = "Workflows that push to ${local.full_name}"
}

# bootstrap maps attribute.place from the token: owner, repository, by their numbers, and environment.
resource "google_service_account_iam_member" "ci" {
  for_each = var.ci_identity == null ? toset([]) : toset(var.ci_identity.environments)

  service_account_id = google_service_account.ci["ci"].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "principalSet://iam.googleapis.com/${local.github_pool}/attribute.place/${var.ci_identity.repository_owner_id}/${var.ci_identity.repository_id}/${each.key}"
}

resource "google_artifact_registry_repository_iam_member" "ci" {
  for_each = local.ci

  location   = google_artifact_registry_repository.this.location
  repository = google_artifact_registry_repository.this.name
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.ci[each.key].member
}

# The clusters know it, and give it nothing: that is for Kubernetes' own roles, bound to its e-mail.
resource "google_project_iam_member" "ci" {
  for_each = local.ci

  project = local.project
  role    = "roles/container.clusterViewer"
  member  = google_service_account.ci[each.key].member
}

# Reads what a run wrote, and copies a model to where it is released from. To Google Cloud, writing
# champion.json anew is deleting it; the bucket keeps what was there.
resource "google_storage_bucket_iam_member" "ci" {
  for_each = var.ci_identity == null ? {} : {
    read_artifacts = { bucket = "artifact_store", role = "roles/storage.objectViewer" }
    read_models    = { bucket = "model_store", role = "roles/storage.objectViewer" }
    release_models = { bucket = "model_store", role = "roles/storage.objectUser" }
  }

  bucket = google_storage_bucket.this[each.value.bucket].name
  role   = each.value.role
  member = google_service_account.ci["ci"].member
}
