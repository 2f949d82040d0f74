# What Google Cloud computes, in its own forms.

mock_data "google_client_config" {
  defaults = {
    project = "pond-ml"
  }
}

mock_data "google_project" {
  defaults = {
    number = "123456789012"
  }
}

mock_data "google_storage_project_service_account" {
  defaults = {
    email_address = "service-123456789012@gs-project-accounts.iam.gserviceaccount.com"
  }
}

mock_resource "google_service_account" {
  defaults = {
    name   = "projects/pond-ml/serviceAccounts/mock@pond-ml.iam.gserviceaccount.com"
    email  = "mock@pond-ml.iam.gserviceaccount.com"
    member = "serviceAccount:mock@pond-ml.iam.gserviceaccount.com"
  }
}

mock_resource "google_container_cluster" {
  defaults = {
    id             = "projects/pond-ml/locations/europe-west4/clusters/ducks-nonprod"
    endpoint       = "172.31.255.242"
    master_version = "1.35.1-gke.100"
  }
}

mock_resource "google_kms_crypto_key" {
  defaults = {
    id = "projects/pond-ml/locations/europe-west4/keyRings/ducks/cryptoKeys/cluster"
  }
}

mock_resource "google_sql_database_instance" {
  defaults = {
    private_ip_address = "10.200.0.3"
  }
}
