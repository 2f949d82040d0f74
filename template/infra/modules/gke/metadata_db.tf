# MySQL for what Pipelines remembers, where one in the cluster is not enough.

locals {
  metadata_db = var.metadata_db.enabled ? { this = var.metadata_db } : {}
  tiers = {
    small  = "db-custom-1-3840"
    medium = "db-custom-2-8192"
    large  = "db-custom-8-32768"
  }
}

# Cloud SQL lives in a network of Google's that is joined to ours; it takes its addresses from here.
resource "google_compute_global_address" "metadata_db" {
  for_each = local.metadata_db

  name          = "${local.full_name}-services"
  network       = google_compute_network.this.id
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = 20
}

resource "google_service_networking_connection" "metadata_db" {
  for_each = local.metadata_db

  network                 = google_compute_network.this.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.metadata_db[each.key].name]
}

resource "google_sql_database_instance" "metadata_db" {
  for_each = local.metadata_db

  name                = "${local.full_name}-metadata"
  region              = var.region
  database_version    = "MYSQL_8_4"
  encryption_key_name = google_kms_crypto_key.this.id
  deletion_protection = var.deletion_protection

  settings {
    tier                        = local.tiers[each.value.tier]
    edition                     = "ENTERPRISE"
    availability_type           = each.value.high_availability ? "REGIONAL" : "ZONAL"
    disk_type                   = "PD_SSD"
    disk_size                   = 20
    disk_autoresize             = true
    disk_autoresize_limit       = 200
    deletion_protection_enabled = var.deletion_protection
    user_labels                 = local.labels

    ip_configuration {
      ipv4_enabled    = false
      private_network = google_compute_network.this.id
      ssl_mode        = "ENCRYPTED_ONLY"
    }

    backup_configuration {
      enabled            = true
      binary_log_enabled = true
      start_time         = "02:00"
      backup_retention_settings {
        retained_backups = each.value.backup_days
      }
    }

    database_flags {
      name  = "cloudsql_iam_authentication"
      value = "on"
    }
    database_flags {
      name  = "local_infile"
      value = "off"
    }
    database_flags {
      name  = "skip_show_database"
      value = "on"
    }
  }

  depends_on = [
    google_service_networking_connection.metadata_db,
    google_kms_crypto_key_iam_member.services,
  ]
}

resource "google_sql_database" "metadata_db" {
  for_each = local.metadata_db

  name     = "mlpipeline"
  instance = google_sql_database_instance.metadata_db[each.key].name
}

# Its secret is here; the user and the password are put there by whoever runs the database, as
# docs/cluster-on-google-cloud.md says: never in a plan or a state.
resource "google_secret_manager_secret" "metadata_db" {
  for_each = local.metadata_db

  secret_id = "${local.full_name}-metadata"
  labels    = local.labels

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }
}
