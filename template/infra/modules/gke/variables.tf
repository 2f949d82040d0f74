# The interface of a cluster. modules/eks and modules/gke have this same file, and a test holds them
# equal. What a cloud has of its own (which GPUs, how many kinds of machine a pool takes) is in
# limits.tf, which the rules here look into.

variable "name" {
  type        = string
  description = "What the cluster is for, such as the project. Everything made is called by it and the environment."

  validation {
    condition     = can(regex("^[a-z]([a-z0-9]|-[a-z0-9])*$", var.name))
    error_message = "name: use small letters, digits and single hyphens, a letter first, such as my-model."
  }
  validation {
    # A GKE cluster's name has 40 characters at most, and an S3 bucket's 63, of which the account's
    # number and the purpose take 23.
    condition     = length("${var.name}-${var.environment}") <= 40
    error_message = "name: \"${var.name}-${var.environment}\" is too long for a cluster: 40 characters at most, the environment's included. Shorten the name."
  }
}

variable "environment" {
  type        = string
  description = "Which cluster this is: nonprod, for dev and staging, or prod."

  validation {
    condition     = contains(["nonprod", "prod"], var.environment)
    error_message = "environment: choose nonprod or prod."
  }
}

variable "region" {
  type        = string
  description = "The cloud's region, such as us-east-1 or europe-west4."

  validation {
    condition     = can(regex(local.region_pattern, var.region))
    error_message = "region: \"${var.region}\" is not a region of this cloud: write it as in ${local.region_example}."
  }
}

variable "zones" {
  type        = list(string)
  description = "Zones of the region that nodes run in: two at least, three for a cluster that others rely on."

  validation {
    condition     = length(distinct(var.zones)) == length(var.zones) && length(var.zones) >= 2 && length(var.zones) <= 4
    error_message = "zones: name two to four different zones."
  }
  validation {
    condition     = alltrue([for zone in var.zones : startswith(zone, var.region)])
    error_message = "zones: each has to be in the region \"${var.region}\"."
  }
}

variable "kubernetes_version" {
  type        = string
  default     = "1.35"
  description = "Minor version of Kubernetes: 1.35, the oldest that Kubeflow 26.03 runs on, or newer."

  validation {
    condition     = can(regex("^1\\.(3[5-9]|[4-9][0-9])$", var.kubernetes_version))
    error_message = "kubernetes_version: use 1.35 or newer, without a patch, such as 1.35: Kubeflow 26.03 needs it."
  }
}

variable "upgrade_policy" {
  type        = string
  default     = "standard"
  description = "What happens when a version's support ends: standard, the cloud upgrades, or extended, it stays longer and costs more."

  validation {
    condition     = contains(["standard", "extended"], var.upgrade_policy)
    error_message = "upgrade_policy: choose standard or extended."
  }
}

variable "network" {
  type = object({
    cidr          = optional(string, "10.0.0.0/18")
    pods_cidr     = optional(string, "100.64.0.0/16")
    services_cidr = optional(string, "172.20.0.0/20")
    nat           = optional(string, "single")
  })
  default     = {}
  description = "Addresses, which no update can change: of the network, of pods, of Services; and whether there is one way out (single) or one in each zone (per_zone)."

  validation {
    condition = alltrue([
      for cidr in [var.network.cidr, var.network.pods_cidr, var.network.services_cidr] :
      try(cidrhost(cidr, 0) == split("/", cidr)[0] && !strcontains(cidr, ":"), false)
    ])
    error_message = "network: write each block as its first IPv4 address and its size, such as 10.0.0.0/18."
  }
  validation {
    condition     = try(tonumber(split("/", var.network.cidr)[1]) >= 16 && tonumber(split("/", var.network.cidr)[1]) <= 22, true)
    error_message = "network.cidr: ${var.network.cidr} does not fit: a network takes a block from /16 to /22."
  }
  validation {
    condition     = try(tonumber(split("/", var.network.pods_cidr)[1]) >= 16 && tonumber(split("/", var.network.pods_cidr)[1]) <= 20, true)
    error_message = "network.pods_cidr: ${var.network.pods_cidr} does not fit: pods take a block from /16 to /20."
  }
  validation {
    condition     = try(tonumber(split("/", var.network.services_cidr)[1]) >= 16 && tonumber(split("/", var.network.services_cidr)[1]) <= 24, true)
    error_message = "network.services_cidr: ${var.network.services_cidr} does not fit: Services take a block from /16 to /24."
  }
  validation {
    condition     = can(regex("^(10\\.|172\\.(1[6-9]|2[0-9]|3[01])\\.|192\\.168\\.)", var.network.services_cidr))
    error_message = "network.services_cidr: ${var.network.services_cidr} is not private: use a block of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16."
  }
  validation {
    # Two blocks overlap when they are the same, cut to the larger one's size.
    condition = alltrue([
      for pair in concat(
        [
          [var.network.cidr, var.network.pods_cidr],
          [var.network.cidr, var.network.services_cidr],
          [var.network.pods_cidr, var.network.services_cidr],
        ],
        setproduct([var.network.cidr, var.network.pods_cidr, var.network.services_cidr], local.reserved_cidrs),
      ) :
      try(length(distinct([
        for cidr in pair :
        cidrhost("${split("/", cidr)[0]}/${min([for each in pair : tonumber(split("/", each)[1])]...)}", 0)
      ])) == 2, true)
    ])
    error_message = "network: cidr, pods_cidr and services_cidr overlap${join("", [for cidr in local.reserved_cidrs : ", or one does ${cidr}, which is the control plane's"])}: give each a block of its own."
  }
  validation {
    condition     = contains(["single", "per_zone"], var.network.nat)
    error_message = "network.nat: choose single or per_zone."
  }
}

variable "api_access" {
  type = object({
    public           = optional(bool, false)
    authorized_cidrs = optional(list(string), [])
    admins           = optional(list(string), [])
  })
  default     = {}
  description = "Who reaches the Kubernetes API: from inside the network only, or from these addresses too; and who may do everything there (on AWS ARNs of roles, on Google Cloud members such as group:ml@example.com)."

  validation {
    condition = alltrue([
      for cidr in var.api_access.authorized_cidrs : try(cidrhost(cidr, 0) == split("/", cidr)[0], false)
    ])
    error_message = "api_access.authorized_cidrs: write each block as its first address and its size, such as 203.0.113.0/24, or 203.0.113.7/32 for one."
  }
  validation {
    condition     = alltrue([for cidr in var.api_access.authorized_cidrs : try(tonumber(split("/", cidr)[1]) >= 8, true)])
    error_message = "api_access.authorized_cidrs: this opens the API to the world: name your own networks, each /8 or smaller."
  }
  validation {
    condition     = !var.api_access.public || length(var.api_access.authorized_cidrs) > 0
    error_message = "api_access.authorized_cidrs: a public API without them is open to the world: name your own networks."
  }
  validation {
    condition     = var.api_access.public || length(var.api_access.authorized_cidrs) == 0
    error_message = "api_access.authorized_cidrs: they count for a public API only: set public, or leave them out."
  }
  validation {
    condition     = alltrue([for admin in var.api_access.admins : can(regex(local.admin_pattern, admin))])
    error_message = "api_access.admins: write each as in ${local.admin_example}."
  }
}

variable "node_pools" {
  type = map(object({
    instance_types = optional(list(string), [])
    min            = optional(number, 0)
    max            = number
    spot           = optional(bool, false)
    disk_gb        = optional(number, 100)
    gpu            = optional(object({ type = string, count = optional(number, 1) }))
    labels         = optional(map(string), {})
    taints         = optional(list(object({ key = string, value = string, effect = optional(string, "NoSchedule") })), [])
  }))
  default = {
    system = { min = 2, max = 4 }
    cpu    = { max = 8, spot = true, taints = [{ key = "pool", value = "cpu" }] }
    gpu    = { max = 2, spot = true, gpu = { type = "l4" } }
  }
  description = "Groups of nodes that grow and shrink between min and max, over all zones. Without instance_types this module's choice. A pool with a GPU is tainted nvidia.com/gpu; each pool has the label pool."

  validation {
    condition     = alltrue([for name, _ in var.node_pools : can(regex("^[a-z]([a-z0-9]|-[a-z0-9]){0,19}$", name))])
    error_message = "node_pools: use small letters, digits and single hyphens for a pool's name, at most 20 characters, a letter first."
  }
  validation {
    condition     = try(!var.node_pools["system"].spot && length(var.node_pools["system"].taints) == 0 && var.node_pools["system"].gpu == null && var.node_pools["system"].min >= 1, false)
    error_message = "node_pools.system: the cluster's own pods need a pool of this name, with min at least 1, on demand, without taints and without a GPU."
  }
  validation {
    condition     = alltrue([for pool in var.node_pools : pool.min >= 0 && pool.max >= 1 && pool.min <= pool.max && floor(pool.min) == pool.min && floor(pool.max) == pool.max])
    error_message = "node_pools: min above max in ${join(", ", [for name, pool in var.node_pools : name if pool.min > pool.max || pool.min < 0 || pool.max < 1])}: use whole numbers, min from 0 and max from 1, and max no less than min."
  }
  validation {
    condition     = alltrue([for pool in var.node_pools : pool.disk_gb >= 50 && pool.disk_gb <= 2000])
    error_message = "node_pools: disk_gb is from 50, which holds the images of the steps, to 2000."
  }
  validation {
    condition     = alltrue([for pool in var.node_pools : pool.gpu == null ? true : contains(keys(local.gpu_instance_types), pool.gpu.type)])
    error_message = "node_pools: this cloud has no GPU of type ${join(", ", [for pool in var.node_pools : pool.gpu.type if pool.gpu == null ? false : !contains(keys(local.gpu_instance_types), pool.gpu.type)])}: choose from ${join(", ", keys(local.gpu_instance_types))}."
  }
  validation {
    condition = alltrue([
      for pool in var.node_pools :
      pool.gpu == null ? true : contains(keys(lookup(local.gpu_instance_types, pool.gpu.type, { (pool.gpu.count) = "" })), tostring(pool.gpu.count))
    ])
    error_message = "node_pools: no machine of this cloud has that count of the GPU: ${join("; ", [for type, machines in local.gpu_instance_types : "${type}: ${join(", ", keys(machines))}"])}."
  }
  validation {
    condition     = alltrue([for pool in var.node_pools : length(pool.instance_types) <= local.instance_types_per_pool])
    error_message = "node_pools: a pool takes at most ${local.instance_types_per_pool} of instance_types on this cloud."
  }
  validation {
    condition     = alltrue(flatten([for pool in var.node_pools : [for taint in pool.taints : contains(["NoSchedule", "PreferNoSchedule", "NoExecute"], taint.effect)]]))
    error_message = "node_pools: a taint's effect is NoSchedule, PreferNoSchedule or NoExecute."
  }
}

variable "artifact_store" {
  type = object({
    retention_days = optional(number, 90)
    versioning     = optional(bool, true)
    force_destroy  = optional(bool, false)
  })
  default     = {}
  description = "The bucket of what runs write: how many days it is kept, whether what was overwritten is, and whether a destroy takes the content too."

  validation {
    condition     = var.artifact_store.retention_days >= 1 && floor(var.artifact_store.retention_days) == var.artifact_store.retention_days
    error_message = "artifact_store.retention_days: use a whole number of days, from 1."
  }
}

variable "model_store" {
  type = object({
    versioning    = optional(bool, true)
    force_destroy = optional(bool, false)
  })
  default     = {}
  description = "The bucket of registered and released models, which never expire."
}

variable "registry" {
  type = object({
    repositories = optional(list(string), [])
    keep_tags    = optional(number, 50)
    scan         = optional(bool, true)
  })
  default     = {}
  description = "The images: which there are, how many of each are kept beside those with a tag released-…, which never go, and whether they are scanned for vulnerabilities."

  validation {
    condition     = alltrue([for name in var.registry.repositories : can(regex("^[a-z0-9]([a-z0-9]|[-_./][a-z0-9])*$", name))])
    error_message = "registry.repositories: name images as in my-model-train: small letters, digits, and single hyphens, dots or slashes between them."
  }
  validation {
    condition     = var.registry.keep_tags >= 1 && var.registry.keep_tags <= 1000
    error_message = "registry.keep_tags: keep from 1 to 1000."
  }
}

variable "metadata_db" {
  type = object({
    enabled           = optional(bool, false)
    tier              = optional(string, "small")
    backup_days       = optional(number, 7)
    high_availability = optional(bool, false)
  })
  default     = {}
  description = "A managed MySQL for what Pipelines remembers, in place of the one in the cluster: small, medium or large."

  validation {
    condition     = contains(["small", "medium", "large"], var.metadata_db.tier)
    error_message = "metadata_db.tier: choose small, medium or large."
  }
  validation {
    condition     = var.metadata_db.backup_days >= 1 && var.metadata_db.backup_days <= 35
    error_message = "metadata_db.backup_days: keep backups from 1 to 35 days."
  }
}

variable "workload_identities" {
  type = map(object({
    namespace        = string
    service_accounts = list(string)
    bucket_access = optional(object({
      artifact_store = optional(string, "none")
      model_store    = optional(string, "none")
    }), {})
  }))
  default     = {}
  description = "Which Kubernetes service accounts reach the buckets, without keys: none, read or write each."

  validation {
    condition     = alltrue([for name, _ in var.workload_identities : can(regex("^[a-z]([a-z0-9]|-[a-z0-9]){0,19}$", name))])
    error_message = "workload_identities: use small letters, digits and single hyphens for a name, at most 20 characters, a letter first."
  }
  validation {
    # What else is called by the cluster's name and a word.
    condition     = alltrue([for name, _ in var.workload_identities : !can(regex("^(ci|cluster|nodes|system-.*)$", name))])
    error_message = "workload_identities: ci, cluster, nodes and system-… are the cluster's own: choose another name."
  }
  validation {
    condition     = alltrue([for identity in var.workload_identities : length(identity.service_accounts) > 0])
    error_message = "workload_identities: each needs at least one of service_accounts."
  }
  validation {
    condition = alltrue(flatten([
      for identity in var.workload_identities :
      [for access in values(identity.bucket_access) : contains(["none", "read", "write"], access)]
    ]))
    error_message = "workload_identities: bucket_access is none, read or write."
  }
}

variable "ci_identity" {
  type = object({
    repository_id       = string
    repository_owner_id = string
    environments        = optional(list(string), [])
  })
  default     = null
  description = "The GitHub repository, by its numbers, whose workflows in these of its environments push images and release models. bootstrap makes what it is trusted by."

  validation {
    condition     = var.ci_identity == null ? true : can(regex("^[0-9]+$", var.ci_identity.repository_id)) && can(regex("^[0-9]+$", var.ci_identity.repository_owner_id))
    error_message = "ci_identity: repository_id and repository_owner_id are numbers, as `gh api repos/OWNER/NAME --jq '.id, .owner.id'` says: a name can be taken over, a number cannot."
  }
  validation {
    condition     = var.ci_identity == null ? true : length(var.ci_identity.environments) > 0
    error_message = "ci_identity.environments: name at least one of the repository's environments, or any branch could push."
  }
}

variable "promotion" {
  type = object({
    readers = optional(list(string), [])
    source  = optional(object({ model_store = string, registry = string }))
  })
  default     = {}
  description = "How a release gets from one cluster to the next. readers: whose workflows may read the models and images here, each by the output ci.identity of its cluster. source: where nonprod is in another account of AWS, its outputs model_store.uri and registry.prefix, which ci_identity may then read."

  validation {
    condition     = alltrue([for reader in var.promotion.readers : can(regex(local.reader_pattern, reader))])
    error_message = "promotion.readers: write each as the other cluster's output ci.identity says it, such as ${local.reader_example}."
  }
  validation {
    condition     = var.promotion.source == null ? true : can(regex(local.source_pattern, "${var.promotion.source.model_store} ${var.promotion.source.registry}"))
    error_message = "promotion.source: ${local.source_rule}."
  }
  validation {
    condition     = var.promotion.source == null || var.ci_identity != null
    error_message = "promotion.source: it is ci_identity that reads there: give that too, or leave this out."
  }
}

variable "deletion_protection" {
  type        = bool
  default     = true
  description = "Whether the cloud refuses to delete what it can protect: the database, and on Google Cloud the cluster."
}

variable "labels" {
  type        = map(string)
  default     = {}
  description = "Labels of everything made, for the bill, beside name, environment and managed-by."

  validation {
    condition     = alltrue([for key, value in var.labels : can(regex("^[a-z][a-z0-9_-]{0,62}$", key)) && can(regex("^[a-z0-9_-]{0,63}$", value))])
    error_message = "labels: use small letters, digits, _ and - in keys and values, 63 characters at most, as both clouds take them."
  }
}
