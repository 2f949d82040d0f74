# The same names and shapes in modules/eks and modules/gke: what reads them need not know the cloud.

output "cluster" {
  description = "Its name, where its API is, its certificate, version, and the command that writes a kubeconfig."
  value = {
    name           = google_container_cluster.this.name
    endpoint       = "https://${google_container_cluster.this.endpoint}"
    ca_certificate = google_container_cluster.this.master_auth[0].cluster_ca_certificate
    version        = google_container_cluster.this.master_version
    region         = var.region
    context        = "gke_${local.project}_${var.region}_${local.full_name}"
    kubeconfig     = "gcloud container clusters get-credentials ${local.full_name} --region ${var.region} --project ${local.project}"
  }
}

output "artifact_store" {
  description = "The bucket of what runs write: its name and URI."
  value = {
    name = google_storage_bucket.this["artifact_store"].name
    uri  = "gs://${google_storage_bucket.this["artifact_store"].name}"
  }
}

output "model_store" {
  description = "The bucket of models: its name and URI."
  value = {
    name = google_storage_bucket.this["model_store"].name
    uri  = "gs://${google_storage_bucket.this["model_store"].name}"
  }
}

output "registry" {
  description = "The prefix of image names, the whole name of each image, and the command that logs in."
  value = {
    prefix       = local.registry
    repositories = { for name in var.registry.repositories : name => "${local.registry}/${name}" }
    login        = "gcloud auth configure-docker ${var.region}-docker.pkg.dev"
  }
}

output "workload_identities" {
  description = "For each: who it is at the cloud, its namespace, its service accounts, and the annotations that these need."
  value = {
    for name, identity in var.workload_identities : name => {
      identity         = "${local.principals}/ns/${identity.namespace}"
      namespace        = identity.namespace
      service_accounts = identity.service_accounts
      # A service account is its own principal.
      annotations = {}
    }
  }
}

output "node_pools" {
  description = "For each: the selector and the tolerations by which a pod gets there."
  value = {
    for name, pool in var.node_pools : name => {
      selector    = { pool = name }
      tolerations = [for taint in local.pool_taints[name] : { key = taint.key, operator = "Equal", value = taint.value, effect = taint.effect }]
    }
  }
}

output "metadata_db" {
  description = "Where MySQL is, its database, its user, and the secret that has the password; null without one."
  value = one([
    for database in google_sql_database_instance.metadata_db : {
      host   = database.private_ip_address
      port   = 3306
      name   = "mlpipeline"
      user   = "pipelines"
      secret = google_secret_manager_secret.metadata_db["this"].id
    }
  ])
}

output "ci" {
  description = "As whom workflows push images and release models, by which trust, and who that is to Kubernetes' roles; null without ci_identity."
  value = one([
    for account in google_service_account.ci : {
      identity = account.email
      provider = "${local.github_pool}/providers/github"
      subject  = { kind = "User", name = account.email }
    }
  ])
}

locals {
  registry = "${var.region}-docker.pkg.dev/${local.project}/${google_artifact_registry_repository.this.repository_id}"
}
