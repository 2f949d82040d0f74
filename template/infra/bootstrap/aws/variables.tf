variable "name" {
  type        = string
  description = "What the account is for, such as the project: begins the bucket's name."

  validation {
    condition     = can(regex("^[a-z]([a-z0-9]|-[a-z0-9]){0,31}$", var.name))
    error_message = "name: use small letters, digits and single hyphens, a letter first, at most 32 characters."
  }
}

variable "region" {
  type        = string
  description = "Where the state is kept."

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region: write it as in us-east-1."
  }
}

variable "force_destroy" {
  type        = bool
  default     = false
  description = "Whether a destroy takes the states of all clusters too."
}
