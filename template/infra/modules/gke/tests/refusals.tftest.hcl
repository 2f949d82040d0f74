# What is refused on this cloud and may be allowed on the other. The rules are the same file as in
# modules/eks, whose tests have the rest.

mock_provider "google" {
  source = "./tests/mocks"
}

variables {
  name        = "ducks"
  environment = "nonprod"
  region      = "europe-west4"
  zones       = ["europe-west4-a", "europe-west4-b"]
}

run "no_region" {
  command = plan

  variables {
    region = "mars"
  }

  expect_failures = [var.region]
}

run "zones_elsewhere" {
  command = plan

  variables {
    zones = ["us-west1-a", "us-west1-b"]
  }

  expect_failures = [var.zones]
}

run "an_admin_by_name" {
  command = plan

  variables {
    api_access = { admins = ["alice"] }
  }

  expect_failures = [var.api_access]
}

run "a_gpu_that_is_not_there" {
  command = plan

  variables {
    node_pools = { system = { min = 1, max = 1 }, gpu = { max = 1, gpu = { type = "a10g" } } }
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
    node_pools = { system = { min = 1, max = 1, instance_types = ["e2-standard-4", "n2-standard-4"] } }
  }

  expect_failures = [var.node_pools]
}

run "services_where_the_control_plane_is" {
  command = plan

  variables {
    network = { services_cidr = "172.31.240.0/20" }
  }

  expect_failures = [var.network]
}

run "everybody_as_a_reader" {
  command = plan

  variables {
    promotion = { readers = ["allUsers"] }
  }

  expect_failures = [var.promotion]
}

run "a_source" {
  command = plan

  variables {
    ci_identity = { repository_id = "1", repository_owner_id = "2", environments = ["prod"] }
    promotion   = { source = { model_store = "gs://ducks", registry = "europe-west4-docker.pkg.dev/ducks/ducks-nonprod" } }
  }

  expect_failures = [var.promotion]
}
