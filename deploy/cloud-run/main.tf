# The function on Cloud Run: one request per instance, scaled to zero, the shared secret from Secret Manager.
terraform {
  required_version = ">= 1.5"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 5.0"
    }
  }
}

variable "project" {
  type = string
}

variable "region" {
  type    = string
  default = "us-central1"
}

variable "image" {
  description = "The image of deploy/function/Dockerfile, pushed where the project can read it."
  type        = string
}

variable "handler" {
  description = "module:function, or JSON with path and arguments."
  type        = string
  default     = "edgecloud.runtime.cloud.echo:make_handler"
}

variable "memory" {
  type    = string
  default = "2Gi"
}

variable "max_instances" {
  type    = number
  default = 32
}

variable "token_secret" {
  description = "Name of the secret that holds EDGECLOUD_TOKEN; made beforehand, so that it is not in Terraform's state."
  type        = string
  default     = "edgecloud-token"
}

provider "google" {
  project = var.project
  region  = var.region
}

resource "google_service_account" "function" {
  account_id   = "edgecloud-function"
  display_name = "Runs the function; may read its token and nothing else"
}

resource "google_secret_manager_secret_iam_member" "token" {
  secret_id = var.token_secret
  role      = "roles/secretmanager.secretAccessor"
  member    = "serviceAccount:${google_service_account.function.email}"
}

resource "google_cloud_run_v2_service" "function" {
  name       = "edgecloud-function"
  location   = var.region
  depends_on = [google_secret_manager_secret_iam_member.token]

  template {
    service_account                  = google_service_account.function.email
    max_instance_request_concurrency = 1
    timeout                          = "60s"

    scaling {
      min_instance_count = 0
      max_instance_count = var.max_instances
    }

    containers {
      image = var.image

      resources {
        limits = {
          cpu    = "1"
          memory = var.memory
        }
        cpu_idle = true
      }

      env {
        name  = "EDGECLOUD_HANDLER"
        value = var.handler
      }

      env {
        name = "EDGECLOUD_TOKEN"
        value_source {
          secret_key_ref {
            secret  = var.token_secret
            version = "latest"
          }
        }
      }
    }
  }
}

output "url" {
  value = google_cloud_run_v2_service.function.uri
}
