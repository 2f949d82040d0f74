# Once for a project of Google Cloud, by one of its owners: the services that a cluster needs, where
# all other state is kept, and that GitHub's workflows are trusted. Its own state is a file beside
# it, as there is no bucket yet: commit none of it.

data "google_project" "this" {
  project_id = var.project
}

locals {
  labels = { name = var.name, managed-by = "terraform" }
}

resource "google_project_service" "this" {
  for_each = toset([
    "artifactregistry",
    "cloudkms",
    "cloudresourcemanager",
    "compute",
    "container",
    "containerscanning",
    "iam",
    "iamcredentials",
    "secretmanager",
    "servicenetworking",
    "sqladmin",
    "storage",
    "sts",
  ])

  service = "${each.key}.googleapis.com"
  # Others of the project may use it by now.
  disable_on_destroy = false
}

resource "google_storage_bucket" "state" {
  name                        = "${var.name}-terraform-${data.google_project.this.number}"
  location                    = var.region
  force_destroy               = var.force_destroy
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  labels                      = local.labels

  versioning {
    # A state that was written over comes back.
    enabled = true
  }

  depends_on = [google_project_service.this]
}

resource "google_iam_workload_identity_pool" "github" {
  workload_identity_pool_id = "github"
  display_name              = "GitHub"
  description               = "Workflows of GitHub Actions"

  depends_on = [google_project_service.this]
}

resource "google_iam_workload_identity_pool_provider" "github" {
  workload_identity_pool_id          = google_iam_workload_identity_pool.github.workload_identity_pool_id
  workload_identity_pool_provider_id = "github"
  display_name                       = "GitHub Actions"

  # By numbers: a name can be taken over by someone else.
  attribute_mapping = {
    "google.subject"  = "assertion.sub"
    "attribute.place" = "assertion.repository_owner_id + \"/\" + assertion.repository_id + \"/\" + assertion.environment"
  }
  # GitHub's issuer is everybody's: without this every repository in the world gets a token here.
  # And a workflow that names no environment gets none.
  attribute_condition = "assertion.repository_owner_id == \"${var.repository_owner_id}\" && has(assertion.environment)"

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}
