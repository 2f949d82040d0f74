# The images. Their tags are hashes of what is in them, so none is ever moved.

resource "aws_ecr_repository" "this" {
  for_each = toset(var.registry.repositories)

  name                 = "${local.full_name}/${each.key}"
  image_tag_mutability = "IMMUTABLE"
  # Only what a bucket's content may be lost with: in a cluster that is there to be thrown away.
  force_delete = !var.deletion_protection
  tags         = local.tags

  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = aws_kms_key.this.arn
  }

  image_scanning_configuration {
    scan_on_push = var.registry.scan
  }
}

resource "aws_ecr_lifecycle_policy" "this" {
  for_each = aws_ecr_repository.this

  repository = each.value.name
  policy = jsonencode({
    rules = [
      {
        # An image that a rule has matched is not expired by one of a later priority. So this one,
        # which never comes to its count, keeps what a release names.
        rulePriority = 1
        description  = "Keep what was released"
        selection    = { tagStatus = "tagged", tagPrefixList = ["released-"], countType = "imageCountMoreThan", countNumber = 100000 }
        action       = { type = "expire" }
      },
      {
        rulePriority = 2
        description  = "Keep the newest of the others"
        selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = var.registry.keep_tags }
        action       = { type = "expire" }
      },
    ]
  })
}
