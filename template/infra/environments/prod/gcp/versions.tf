terraform {
  required_version = ">= 1.11"

  # Bucket and prefix come from `make infra-plan`. Cloud Storage locks by itself.
  backend "gcs" {}

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }
}

provider "google" {
  project = var.project
  region  = var.region
}
