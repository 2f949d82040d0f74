terraform {
  # 1.9 lets a variable's rule look at other values; 1.11 brought what the tests are written with.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # What this was applied with. The cluster's own deletion_protection came with 6: until then
      # `make infra-plan` and `make infra-destroy` guard it.
      version = "~> 5.100"
    }
  }
}
