terraform {
  required_version = ">= 1.11"

  # Bucket, key and region come from `make infra-plan`, which asks bootstrap's outputs.
  backend "s3" {
    use_lockfile = true
    encrypt      = true
  }

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

provider "aws" {
  region = var.region
}
