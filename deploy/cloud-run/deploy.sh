#!/usr/bin/env bash
# The same as main.tf, with gcloud. Usage: deploy.sh PROJECT REGION IMAGE [HANDLER]
set -euo pipefail
project="$1" region="$2" image="$3" handler="${4:-edgecloud.runtime.cloud.echo:make_handler}"

openssl rand -hex 32 | tr -d '\n' | gcloud secrets create edgecloud-token --project "$project" --data-file=-
gcloud iam service-accounts create edgecloud-function --project "$project"
account="edgecloud-function@$project.iam.gserviceaccount.com"
gcloud secrets add-iam-policy-binding edgecloud-token --project "$project" \
    --member "serviceAccount:$account" --role roles/secretmanager.secretAccessor
# ^|^ lets the handler's JSON hold commas
gcloud run deploy edgecloud-function --project "$project" --region "$region" --image "$image" \
    --service-account "$account" --no-allow-unauthenticated --concurrency 1 --min-instances 0 --max-instances 32 \
    --cpu 1 --memory 2Gi --timeout 60 \
    --set-env-vars "^|^EDGECLOUD_HANDLER=$handler" --set-secrets EDGECLOUD_TOKEN=edgecloud-token:latest
