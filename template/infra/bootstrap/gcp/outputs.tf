output "state" {
  description = "Where the clusters' states are kept: what their backend needs."
  value = {
    bucket = google_storage_bucket.state.name
    region = var.region
  }
}

output "ci_provider" {
  description = "By what the project trusts GitHub's workflows."
  value       = google_iam_workload_identity_pool_provider.github.name
}
