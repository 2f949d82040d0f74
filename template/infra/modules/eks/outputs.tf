# The same names and shapes in modules/eks and modules/gke: what reads them need not know the cloud.

output "cluster" {
  description = "Its name, where its API is, its certificate, version, and the command that writes a kubeconfig."
  value = {
    name           = aws_eks_cluster.this.name
    endpoint       = aws_eks_cluster.this.endpoint
    ca_certificate = aws_eks_cluster.this.certificate_authority[0].data
    version        = aws_eks_cluster.this.version
    region         = var.region
    context        = local.full_name
    kubeconfig     = "aws eks update-kubeconfig --region ${var.region} --name ${local.full_name} --alias ${local.full_name}"
  }
}

output "artifact_store" {
  description = "The bucket of what runs write: its name and URI."
  value = {
    name = aws_s3_bucket.this["artifact_store"].id
    uri  = "s3://${aws_s3_bucket.this["artifact_store"].id}"
  }
}

output "model_store" {
  description = "The bucket of models: its name and URI."
  value = {
    name = aws_s3_bucket.this["model_store"].id
    uri  = "s3://${aws_s3_bucket.this["model_store"].id}"
  }
}

output "registry" {
  description = "The prefix of image names, the whole name of each image, and the command that logs in."
  value = {
    prefix       = "${local.account_id}.dkr.ecr.${var.region}.amazonaws.com/${local.full_name}"
    repositories = { for name, repository in aws_ecr_repository.this : name => repository.repository_url }
    login        = "aws ecr get-login-password --region ${var.region} | docker login --username AWS --password-stdin ${local.account_id}.dkr.ecr.${var.region}.amazonaws.com"
  }
}

output "workload_identities" {
  description = "For each: who it is at the cloud, its namespace, its service accounts, and the annotations that these need."
  value = {
    for name, identity in var.workload_identities : name => {
      identity         = aws_iam_role.workload[name].arn
      namespace        = identity.namespace
      service_accounts = identity.service_accounts
      # Pod Identity needs none.
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
    for database in aws_db_instance.metadata_db : {
      host   = database.address
      port   = database.port
      name   = database.db_name
      user   = database.username
      secret = database.master_user_secret[0].secret_arn
    }
  ])
}

output "ci" {
  description = "As whom workflows push images and release models, by which trust, and who that is to Kubernetes' roles; null without ci_identity."
  value = one([
    for role in aws_iam_role.ci : {
      identity = role.arn
      provider = "${local.arn}:iam::${local.account_id}:oidc-provider/${local.github}"
      subject  = { kind = "Group", name = "${local.full_name}-ci" }
    }
  ])
}
