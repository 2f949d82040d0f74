# MySQL for what Pipelines remembers, where one in the cluster is not enough.

locals {
  metadata_db = var.metadata_db.enabled ? { this = var.metadata_db } : {}
  instance_classes = {
    small  = "db.t4g.medium"
    medium = "db.m7g.large"
    large  = "db.m7g.2xlarge"
  }
}

resource "aws_db_subnet_group" "metadata_db" {
  for_each = local.metadata_db

  name       = local.full_name
  subnet_ids = [for subnet in aws_subnet.private : subnet.id]
  tags       = local.tags
}

resource "aws_security_group" "metadata_db" {
  for_each = local.metadata_db

  name        = "${local.full_name}-metadata-db"
  description = "MySQL, from the nodes of this cluster only"
  vpc_id      = aws_vpc.this.id
  tags        = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "metadata_db" {
  for_each = local.metadata_db

  security_group_id            = aws_security_group.metadata_db[each.key].id
  referenced_security_group_id = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
  description                  = "MySQL from nodes and pods"
  ip_protocol                  = "tcp"
  from_port                    = 3306
  to_port                      = 3306
  tags                         = local.tags
}

resource "aws_db_parameter_group" "metadata_db" {
  for_each = local.metadata_db

  name_prefix = "${local.full_name}-"
  family      = "mysql8.4"
  tags        = local.tags

  parameter {
    name  = "require_secure_transport"
    value = "ON"
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_db_instance" "metadata_db" {
  for_each = local.metadata_db

  identifier                          = "${local.full_name}-metadata"
  engine                              = "mysql"
  engine_version                      = "8.4"
  instance_class                      = local.instance_classes[each.value.tier]
  allocated_storage                   = 20
  max_allocated_storage               = 200
  storage_type                        = "gp3"
  storage_encrypted                   = true
  kms_key_id                          = aws_kms_key.this.arn
  db_name                             = "mlpipeline"
  username                            = "pipelines"
  iam_database_authentication_enabled = true
  # In Secrets Manager and turned over there: never in a plan or a state.
  manage_master_user_password     = true
  master_user_secret_kms_key_id   = aws_kms_key.this.key_id
  multi_az                        = each.value.high_availability
  backup_retention_period         = each.value.backup_days
  copy_tags_to_snapshot           = true
  db_subnet_group_name            = aws_db_subnet_group.metadata_db[each.key].name
  parameter_group_name            = aws_db_parameter_group.metadata_db[each.key].name
  vpc_security_group_ids          = [aws_security_group.metadata_db[each.key].id]
  publicly_accessible             = false
  auto_minor_version_upgrade      = true
  deletion_protection             = var.deletion_protection
  enabled_cloudwatch_logs_exports = ["error", "slowquery"]
  final_snapshot_identifier       = "${local.full_name}-metadata-final"
  skip_final_snapshot             = !var.deletion_protection
  tags                            = local.tags
}
