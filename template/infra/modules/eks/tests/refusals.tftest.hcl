# What is refused before anything is made, on either cloud.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name        = "ducks"
  environment = "nonprod"
  region      = "us-east-1"
  zones       = ["us-east-1a", "us-east-1b"]
}

run "a_name_with_capitals" {
  command = plan

  variables {
    name = "Ducks"
  }

  expect_failures = [var.name]
}

run "a_name_too_long" {
  command = plan

  variables {
    name = "a-name-of-thirty-eight-characters-in-all"
  }

  expect_failures = [var.name]
}

run "another_environment" {
  command = plan

  variables {
    environment = "dev"
  }

  expect_failures = [var.environment]
}

run "no_region" {
  command = plan

  variables {
    region = "mars"
  }

  expect_failures = [var.region]
}

run "one_zone" {
  command = plan

  variables {
    zones = ["us-east-1a"]
  }

  expect_failures = [var.zones]
}

run "zones_elsewhere" {
  command = plan

  variables {
    zones = ["us-west-2a", "us-west-2b"]
  }

  expect_failures = [var.zones]
}

run "an_old_kubernetes" {
  command = plan

  variables {
    kubernetes_version = "1.34"
  }

  expect_failures = [var.kubernetes_version]
}

run "a_patch_of_kubernetes" {
  command = plan

  variables {
    kubernetes_version = "1.35.2"
  }

  expect_failures = [var.kubernetes_version]
}

run "another_upgrade_policy" {
  command = plan

  variables {
    upgrade_policy = "never"
  }

  expect_failures = [var.upgrade_policy]
}

run "not_a_block" {
  command = plan

  variables {
    network = { cidr = "10.0.0.1/18" }
  }

  expect_failures = [var.network]
}

run "a_network_too_small" {
  command = plan

  variables {
    network = { cidr = "10.0.0.0/24" }
  }

  expect_failures = [var.network]
}

run "too_few_pods" {
  command = plan

  variables {
    network = { pods_cidr = "100.64.0.0/22" }
  }

  expect_failures = [var.network]
}

run "too_few_services" {
  command = plan

  variables {
    network = { services_cidr = "172.20.0.0/26" }
  }

  expect_failures = [var.network]
}

run "public_services" {
  command = plan

  variables {
    network = { services_cidr = "203.0.112.0/20" }
  }

  expect_failures = [var.network]
}

run "pods_in_the_network" {
  command = plan

  variables {
    network = { cidr = "10.0.0.0/16", pods_cidr = "10.0.64.0/18" }
  }

  expect_failures = [var.network]
}

run "services_among_pods" {
  command = plan

  variables {
    network = { pods_cidr = "172.20.0.0/16" }
  }

  expect_failures = [var.network]
}

run "another_nat" {
  command = plan

  variables {
    network = { nat = "none" }
  }

  expect_failures = [var.network]
}

run "open_to_the_world" {
  command = plan

  variables {
    api_access = { public = true, authorized_cidrs = ["0.0.0.0/0"] }
  }

  expect_failures = [var.api_access]
}

run "open_to_the_world_in_two_halves" {
  command = plan

  variables {
    api_access = { public = true, authorized_cidrs = ["0.0.0.0/1", "128.0.0.0/1"] }
  }

  expect_failures = [var.api_access]
}

run "open_to_whoever" {
  command = plan

  variables {
    api_access = { public = true }
  }

  expect_failures = [var.api_access]
}

run "networks_of_a_private_api" {
  command = plan

  variables {
    api_access = { authorized_cidrs = ["203.0.113.0/24"] }
  }

  expect_failures = [var.api_access]
}

run "a_network_by_an_inner_address" {
  command = plan

  variables {
    api_access = { public = true, authorized_cidrs = ["203.0.113.7/24"] }
  }

  expect_failures = [var.api_access]
}

run "an_admin_by_name" {
  command = plan

  variables {
    api_access = { admins = ["alice"] }
  }

  expect_failures = [var.api_access]
}

run "no_system_pool" {
  command = plan

  variables {
    node_pools = { cpu = { max = 1 } }
  }

  expect_failures = [var.node_pools]
}

run "a_system_pool_on_spot" {
  command = plan

  variables {
    node_pools = { system = { min = 1, max = 1, spot = true } }
  }

  expect_failures = [var.node_pools]
}

run "min_above_max" {
  command = plan

  variables {
    node_pools = { system = { min = 3, max = 2 } }
  }

  expect_failures = [var.node_pools]
}

run "a_pool_s_name" {
  command = plan

  variables {
    node_pools = { system = { min = 1, max = 1 }, "My pool" = { max = 1 } }
  }

  expect_failures = [var.node_pools]
}

run "a_small_disk" {
  command = plan

  variables {
    node_pools = { system = { min = 1, max = 1, disk_gb = 10 } }
  }

  expect_failures = [var.node_pools]
}

run "a_gpu_that_is_not_there" {
  command = plan

  variables {
    node_pools = { system = { min = 1, max = 1 }, gpu = { max = 1, gpu = { type = "tpu" } } }
  }

  expect_failures = [var.node_pools]
}

run "three_gpus" {
  command = plan

  variables {
    node_pools = { system = { min = 1, max = 1 }, gpu = { max = 1, gpu = { type = "l4", count = 3 } } }
  }

  expect_failures = [var.node_pools]
}

run "too_many_instance_types" {
  command = plan

  variables {
    node_pools = { system = { min = 1, max = 1, instance_types = split(" ", "a b c d e f g h i j k l m n o p q r s t u") } }
  }

  expect_failures = [var.node_pools]
}

run "a_taint_s_effect" {
  command = plan

  variables {
    node_pools = { system = { min = 1, max = 1 }, cpu = { max = 1, taints = [{ key = "a", value = "b", effect = "No" }] } }
  }

  expect_failures = [var.node_pools]
}

run "artifacts_for_no_day" {
  command = plan

  variables {
    artifact_store = { retention_days = 0 }
  }

  expect_failures = [var.artifact_store]
}

run "an_image_s_name" {
  command = plan

  variables {
    registry = { repositories = ["My Image"] }
  }

  expect_failures = [var.registry]
}

run "no_image_kept" {
  command = plan

  variables {
    registry = { keep_tags = 0 }
  }

  expect_failures = [var.registry]
}

run "a_database_s_size" {
  command = plan

  variables {
    metadata_db = { tier = "db.t3.micro" }
  }

  expect_failures = [var.metadata_db]
}

run "no_backup" {
  command = plan

  variables {
    metadata_db = { backup_days = 0 }
  }

  expect_failures = [var.metadata_db]
}

run "an_identity_s_name" {
  command = plan

  variables {
    workload_identities = { "My pods" = { namespace = "a", service_accounts = ["b"] } }
  }

  expect_failures = [var.workload_identities]
}

run "an_identity_of_nobody" {
  command = plan

  variables {
    workload_identities = { pods = { namespace = "a", service_accounts = [] } }
  }

  expect_failures = [var.workload_identities]
}

run "another_access" {
  command = plan

  variables {
    workload_identities = { pods = { namespace = "a", service_accounts = ["b"], bucket_access = { model_store = "all" } } }
  }

  expect_failures = [var.workload_identities]
}

run "a_repository_by_name" {
  command = plan

  variables {
    ci_identity = { repository_id = "pond/ducks", repository_owner_id = "1", environments = ["prod"] }
  }

  expect_failures = [var.ci_identity]
}

run "every_branch" {
  command = plan

  variables {
    ci_identity = { repository_id = "1", repository_owner_id = "1" }
  }

  expect_failures = [var.ci_identity]
}

run "a_label_with_capitals" {
  command = plan

  variables {
    labels = { Team = "Pond" }
  }

  expect_failures = [var.labels]
}

run "a_reader_by_name" {
  command = plan

  variables {
    promotion = { readers = ["ducks-prod-ci"] }
  }

  expect_failures = [var.promotion]
}

run "any_reader_of_an_account" {
  command = plan

  variables {
    promotion = { readers = ["arn:aws:iam::123456789012:role/*"] }
  }

  expect_failures = [var.promotion]
}

run "a_source_without_its_registry" {
  command = plan

  variables {
    ci_identity = { repository_id = "1", repository_owner_id = "2", environments = ["prod"] }
    promotion   = { source = { model_store = "s3://ducks-nonprod-models-123456789012", registry = "ducks-nonprod" } }
  }

  expect_failures = [var.promotion]
}

run "a_source_that_nobody_reads" {
  command = plan

  variables {
    promotion = { source = {
      model_store = "s3://ducks-nonprod-models-123456789012"
      registry    = "123456789012.dkr.ecr.us-east-1.amazonaws.com/ducks-nonprod"
    } }
  }

  expect_failures = [var.promotion]
}
