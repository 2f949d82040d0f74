# A release comes from another cluster: prod takes what staging, in nonprod, was tried with. Here its
# workflows are let in to read models and images, and nothing else.

resource "google_storage_bucket_iam_member" "readers" {
  for_each = toset(var.promotion.readers)

  bucket = google_storage_bucket.this["model_store"].name
  role   = "roles/storage.objectViewer"
  member = "serviceAccount:${each.key}"
}

resource "google_artifact_registry_repository_iam_member" "readers" {
  for_each = toset(var.promotion.readers)

  location   = google_artifact_registry_repository.this.location
  repository = google_artifact_registry_repository.this.name
  role       = "roles/artifactregistry.reader"
  member     = "serviceAccount:${each.key}"
}
