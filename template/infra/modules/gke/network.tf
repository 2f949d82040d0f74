# A network of its own. Nodes and pods have no public address: what they call goes out by NAT, and
# to Google's own services by their private addresses.

resource "google_compute_network" "this" {
  name                    = local.full_name
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "nodes" {
  name                     = "${local.full_name}-nodes"
  network                  = google_compute_network.this.id
  region                   = var.region
  ip_cidr_range            = var.network.cidr
  private_ip_google_access = true

  secondary_ip_range {
    range_name    = "pods"
    ip_cidr_range = var.network.pods_cidr
  }

  secondary_ip_range {
    range_name    = "services"
    ip_cidr_range = var.network.services_cidr
  }

  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.1
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

resource "google_compute_router" "this" {
  name    = local.full_name
  network = google_compute_network.this.id
  region  = var.region
}

# Cloud NAT has no gateway that a zone could lose, so network.nat's choices are one and the same here.
resource "google_compute_router_nat" "this" {
  name                               = local.full_name
  router                             = google_compute_router.this.name
  region                             = var.region
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"
  # Many downloads at once, as when a pool comes up and each node pulls images.
  enable_dynamic_port_allocation = true
  min_ports_per_vm               = 64

  subnetwork {
    name                    = google_compute_subnetwork.nodes.id
    source_ip_ranges_to_nat = ["ALL_IP_RANGES"]
  }

  log_config {
    enable = true
    filter = "ERRORS_ONLY"
  }
}

# GKE lets the control plane reach nodes on 443 and 10250 only; admission webhooks listen on 8443
# and 9443 most of them, and Istio's on 15017.
resource "google_compute_firewall" "webhooks" {
  name          = "${local.full_name}-webhooks"
  network       = google_compute_network.this.id
  description   = "From the control plane to admission webhooks"
  direction     = "INGRESS"
  source_ranges = [local.control_plane_cidr]
  # The nodes of this cluster, of whatever pool.
  target_service_accounts = [google_service_account.nodes.email]

  allow {
    protocol = "tcp"
    ports    = ["8443", "9443", "15017"]
  }
}
