# Every part that is left out unless it is asked for.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name        = "ducks"
  environment = "prod"
  region      = "us-east-1"
  zones       = ["us-east-1a", "us-east-1b", "us-east-1c"]
}

run "a_public_api_for_named_networks" {
  variables {
    api_access = {
      public           = true
      authorized_cidrs = ["203.0.113.0/24"]
      admins           = ["arn:aws:iam::123456789012:role/ml-admins"]
    }
  }

  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].public_access_cidrs == toset(["203.0.113.0/24"])
    error_message = "Others reach the API too."
  }
  assert {
    condition     = aws_eks_access_policy_association.admins["arn:aws:iam::123456789012:role/ml-admins"].access_scope[0].type == "cluster"
    error_message = "The administrators are none."
  }
}

run "a_way_out_in_each_zone" {
  variables {
    network = { nat = "per_zone" }
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 3
    error_message = "A zone's nodes go out by another zone's gateway."
  }
}

run "a_database" {
  variables {
    metadata_db = { enabled = true, tier = "medium", backup_days = 14, high_availability = true }
  }

  assert {
    condition     = aws_db_instance.metadata_db["this"].instance_class == "db.m7g.large" && aws_db_instance.metadata_db["this"].multi_az && aws_db_instance.metadata_db["this"].backup_retention_period == 14
    error_message = "The database is another than was asked for."
  }
  assert {
    condition     = aws_db_instance.metadata_db["this"].publicly_accessible == false && aws_db_instance.metadata_db["this"].storage_encrypted && aws_db_instance.metadata_db["this"].manage_master_user_password
    error_message = "The database is open, not encrypted, or its password is in the state."
  }
  assert {
    condition     = output.metadata_db.port == aws_db_instance.metadata_db["this"].port && output.metadata_db.user == "pipelines"
    error_message = "The output does not say how the database is reached."
  }
}

run "identities" {
  variables {
    workload_identities = {
      pipelines = {
        namespace        = "kubeflow"
        service_accounts = ["ducks-pipeline", "pipeline-runner"]
        bucket_access    = { artifact_store = "write", model_store = "read" }
      }
    }
    ci_identity = { repository_id = "1", repository_owner_id = "2", environments = ["prod"] }
  }

  assert {
    condition     = toset(keys(aws_eks_pod_identity_association.workload)) == toset(["kubeflow/ducks-pipeline", "kubeflow/pipeline-runner"])
    error_message = "A service account has no identity."
  }
  assert {
    condition = contains(flatten([for statement in data.aws_iam_policy_document.assumed_by_ci["ci"].statement : [
      for condition in statement.condition : condition.values if endswith(condition.variable, ":repository_id")
    ]]), "1")
    error_message = "Any repository may push."
  }
  assert {
    # A claim that STS does not look at lets nobody in.
    condition = toset(flatten([for statement in data.aws_iam_policy_document.assumed_by_ci["ci"].statement : [
      for condition in statement.condition : trimprefix(condition.variable, "token.actions.githubusercontent.com:")
    ]])) == toset(["aud", "environment", "repository_id", "sub"])
    error_message = "Nobody can be CI, or others can."
  }
  assert {
    condition     = aws_eks_access_entry.ci["ci"].kubernetes_groups == toset([output.ci.subject.name]) && output.ci.subject.kind == "Group"
    error_message = "The cluster takes CI for somebody else than its roles are bound to."
  }
  assert {
    condition     = aws_iam_role.ci["ci"].max_session_duration > 3 * 3600
    error_message = "A job that follows a run is logged out on its way."
  }
  assert {
    condition     = output.workload_identities["pipelines"].namespace == "kubeflow" && output.ci.identity != ""
    error_message = "The outputs do not have the identities."
  }
}

run "who_reads_for_another_cluster" {
  variables {
    environment = "nonprod"
    registry    = { repositories = ["ducks-train"] }
    promotion   = { readers = ["arn:aws:iam::210987654321:role/ducks-prod-ci"] }
  }

  assert {
    condition = alltrue([
      for document in [data.aws_iam_policy_document.key, data.aws_iam_policy_document.bucket["model_store"], data.aws_iam_policy_document.readers["readers"]] :
      contains(flatten([for statement in document.statement : [for principal in statement.principals : principal.identifiers]]), "arn:aws:iam::210987654321:role/ducks-prod-ci")
    ])
    error_message = "The models, their key or the images do not let it in."
  }
  assert {
    condition     = keys(aws_ecr_repository_policy.readers) == ["ducks-train"] && length(data.aws_iam_policy_document.bucket["artifact_store"].statement) == 1
    error_message = "It reads other images than there are, or what runs write."
  }
  assert {
    condition = toset(flatten([
      for document in [data.aws_iam_policy_document.key, data.aws_iam_policy_document.bucket["model_store"], data.aws_iam_policy_document.readers["readers"]] : [
        for statement in document.statement : statement.actions if startswith(coalesce(statement.sid, "-"), "ReadersOf")
      ]
    ])) == toset(["kms:Decrypt", "s3:ListBucket", "s3:GetBucketLocation", "s3:GetObject", "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"])
    error_message = "It may do more than read, or cannot read."
  }
  assert {
    condition = flatten([
      for statement in data.aws_iam_policy_document.key.statement : [
        for condition in statement.condition : condition.values if endswith(condition.variable, ":s3:arn")
      ] if statement.sid == "ReadersOfModels"
    ]) == ["arn:aws:s3:::ducks-nonprod-models-123456789012", "arn:aws:s3:::ducks-nonprod-models-123456789012/*"]
    error_message = "It decrypts more than models."
  }
}

run "what_is_read_in_another_account" {
  variables {
    ci_identity = { repository_id = "1", repository_owner_id = "2", environments = ["prod"] }
    promotion = { source = {
      model_store = "s3://ducks-nonprod-models-210987654321"
      registry    = "210987654321.dkr.ecr.eu-west-1.amazonaws.com/ducks-nonprod"
    } }
  }

  assert {
    condition = toset(flatten([for statement in data.aws_iam_policy_document.source["source"].statement : statement.resources])) == toset([
      "arn:aws:s3:::ducks-nonprod-models-210987654321",
      "arn:aws:s3:::ducks-nonprod-models-210987654321/*",
      "arn:aws:kms:eu-west-1:210987654321:key/*",
      "arn:aws:ecr:eu-west-1:210987654321:repository/ducks-nonprod/*",
    ])
    error_message = "CI reads something else than the models and images of the other account."
  }
  assert {
    condition = alltrue(flatten([
      for statement in data.aws_iam_policy_document.source["source"].statement : [
        for action in statement.actions : can(regex("^(s3:(Get|List)|kms:Decrypt$|ecr:(BatchGet|BatchCheck|GetDownload))", action))
      ]
    ]))
    error_message = "CI may do more there than read."
  }
  assert {
    condition     = aws_iam_role_policy.source["source"].role == aws_iam_role.ci["ci"].name && length(aws_ecr_repository_policy.readers) == 0
    error_message = "Somebody else than CI reads there, or somebody may read here."
  }
}

run "images" {
  variables {
    registry = { repositories = ["ducks-train"], keep_tags = 7 }
  }

  assert {
    condition     = aws_ecr_repository.this["ducks-train"].image_tag_mutability == "IMMUTABLE" && aws_ecr_repository.this["ducks-train"].force_delete == false
    error_message = "A tag can be moved, or a repository deleted with its images."
  }
  assert {
    condition = [
      for rule in jsondecode(aws_ecr_lifecycle_policy.this["ducks-train"].policy).rules : try(rule.selection.tagPrefixList, [])
    ] == [["released-"], []]
    error_message = "What was released is not kept before all else."
  }
}

run "nothing_of_its_own_survives_unprotected" {
  variables {
    deletion_protection = false
    upgrade_policy      = "extended"
    registry            = { repositories = ["ducks-train"] }
    artifact_store      = { force_destroy = true, versioning = false }
  }

  assert {
    condition     = aws_ecr_repository.this["ducks-train"].force_delete && aws_s3_bucket.this["artifact_store"].force_destroy && !aws_s3_bucket.this["model_store"].force_destroy
    error_message = "Protection is not what was asked for."
  }
  assert {
    condition     = aws_eks_cluster.this.upgrade_policy[0].support_type == "EXTENDED"
    error_message = "The version's support is not extended."
  }
}
