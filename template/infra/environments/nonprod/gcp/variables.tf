# What differs from one cluster to the other; the module says what each means and refuses what
# cannot be. More of its inputs, node_pools say, are given in main.tf.

variable "name" {
  type        = string
  description = "What the cluster is for, such as the project."
}

variable "project" {
  type        = string
  description = "The project's ID at Google Cloud."

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project: write the project's ID in terraform.tfvars, such as pond-ml-123456, not its name or number."
  }
}
variable "region" {
  type        = string
  description = "The cloud's region."
}

variable "zones" {
  type        = list(string)
  description = "Zones of the region that nodes run in."
}

variable "api_access" {
  type = object({
    public           = optional(bool, false)
    authorized_cidrs = optional(list(string), [])
    admins           = optional(list(string), [])
  })
  default     = {}
  description = "Who reaches the Kubernetes API."
}

variable "ci_identity" {
  type = object({
    repository_id       = string
    repository_owner_id = string
    environments        = optional(list(string), ["dev", "staging"])
  })
  default     = null
  description = "The GitHub repository, by its numbers, whose workflows push images and release models."
}

variable "promotion" {
  type = object({
    readers = optional(list(string), [])
    source  = optional(object({ model_store = string, registry = string }))
  })
  default     = {}
  description = "How a release gets from nonprod to prod."
}

variable "deletion_protection" {
  type        = bool
  default     = true
  description = "Whether the cloud refuses to delete what it can protect."
}

variable "labels" {
  type        = map(string)
  default     = {}
  description = "Labels of everything made, for the bill."
}
