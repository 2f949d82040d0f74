terraform {
  # 1.9 lets a variable's rule look at other values; 1.11 brought what the tests are written with.
  required_version = ">= 1.11"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }
}
