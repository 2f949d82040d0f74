# What `make infra-config` writes into config/environments.

output "cluster" {
  description = "The cluster, and the command that writes a kubeconfig."
  value       = module.cluster.cluster
  # Its certificate is no secret, but nothing for a terminal either.
  sensitive = true
}

output "artifact_store" {
  description = "The bucket of what runs write."
  value       = module.cluster.artifact_store
}

output "model_store" {
  description = "The bucket of models."
  value       = module.cluster.model_store
}

output "registry" {
  description = "Where images are pushed to."
  value       = module.cluster.registry
}

output "workload_identities" {
  description = "Who the service accounts are at the cloud."
  value       = module.cluster.workload_identities
}

output "node_pools" {
  description = "How a pod gets to each pool."
  value       = module.cluster.node_pools
}

output "metadata_db" {
  description = "Where MySQL is; null without one."
  value       = module.cluster.metadata_db
}

output "ci" {
  description = "As whom workflows push; null without one."
  value       = module.cluster.ci
}
