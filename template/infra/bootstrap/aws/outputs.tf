output "state" {
  description = "Where the clusters' states are kept: what their backend needs."
  value = {
    bucket = aws_s3_bucket.state.id
    region = var.region
  }
}

output "ci_provider" {
  description = "By what the account trusts GitHub's workflows."
  value       = aws_iam_openid_connect_provider.github.arn
}
