# What pods may do at Google Cloud, by their Kubernetes service account: no keys, no Google service
# account in between, nothing of the node's.

locals {
  object_roles = {
    read  = "roles/storage.objectViewer"
    write = "roles/storage.objectUser"
  }
  principals = "principal://iam.googleapis.com/projects/${local.number}/locations/global/workloadIdentityPools/${local.project}.svc.id.goog/subject"

  # One row for each service account and bucket.
  bucket_access = merge(flatten([
    for name, identity in var.workload_identities : [
      for account in identity.service_accounts : [
        for bucket, access in identity.bucket_access :
        { "${name}/${account}/${bucket}" = {
          bucket = bucket
          role   = local.object_roles[access]
          member = "${local.principals}/ns/${identity.namespace}/sa/${account}"
        } } if access != "none"
      ]
    ]
  ])...)
}

resource "google_storage_bucket_iam_member" "workload" {
  for_each = local.bucket_access

  bucket = google_storage_bucket.this[each.value.bucket].name
  role   = each.value.role
  member = each.value.member

  # The pool of identities comes with the first cluster of the project.
  depends_on = [google_container_cluster.this]
}
