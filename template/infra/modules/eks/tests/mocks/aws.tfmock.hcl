# What AWS computes, in its own forms: the provider checks ARNs and policies even where it is mocked.

mock_data "aws_eks_addon_version" {
  defaults = {
    version = "v1.2.3-eksbuild.1"
  }
}

mock_data "aws_caller_identity" {
  defaults = {
    account_id = "123456789012"
  }
}

mock_data "aws_partition" {
  defaults = {
    partition = "aws"
  }
}

mock_data "aws_iam_policy_document" {
  defaults = {
    json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}"
  }
}

mock_resource "aws_kms_key" {
  defaults = {
    arn    = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
    key_id = "11111111-2222-3333-4444-555555555555"
  }
}

mock_resource "aws_iam_role" {
  defaults = {
    arn = "arn:aws:iam::123456789012:role/mock"
  }
}

mock_resource "aws_eks_cluster" {
  defaults = {
    arn      = "arn:aws:eks:us-east-1:123456789012:cluster/ducks-nonprod"
    endpoint = "https://0123456789ABCDEF.gr7.us-east-1.eks.amazonaws.com"
    certificate_authority = [{
      data = "bW9jaw=="
    }]
    vpc_config = {
      cluster_security_group_id = "sg-0123456789abcdef0"
    }
  }
}

mock_resource "aws_s3_bucket" {
  defaults = {
    arn = "arn:aws:s3:::mock"
  }
}

mock_resource "aws_launch_template" {
  defaults = {
    id             = "lt-0123456789abcdef0"
    latest_version = 1
  }
}

mock_resource "aws_db_instance" {
  defaults = {
    address = "mock.us-east-1.rds.amazonaws.com"
    master_user_secret = [{
      secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:mock"
    }]
  }
}
