variable "name" {
  type        = string
  description = "What the project is for: begins the bucket's name."

  validation {
    condition     = can(regex("^[a-z]([a-z0-9]|-[a-z0-9]){0,31}$", var.name))
    error_message = "name: use small letters, digits and single hyphens, a letter first, at most 32 characters."
  }
}

variable "project" {
  type        = string
  description = "The project's ID at Google Cloud."

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project: write the project's ID, such as pond-ml-123456, not its name or number."
  }
}

variable "region" {
  type        = string
  description = "Where the state is kept."

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region: write it as in europe-west4."
  }
}

variable "repository_owner_id" {
  type        = string
  description = "The number of the GitHub organisation or user whose workflows are trusted."

  validation {
    condition     = can(regex("^[0-9]+$", var.repository_owner_id))
    error_message = "repository_owner_id: write the number, as `gh api users/OWNER --jq .id` says."
  }
}

variable "force_destroy" {
  type        = bool
  default     = false
  description = "Whether a destroy takes the states of all clusters too."
}
