#!/usr/bin/env bash
# Writes .env with random passwords for compose.yaml, unless there is one: bash compose-secrets.sh
set -euo pipefail
cd "$(dirname "$0")"
if [[ -e .env ]]; then
  echo ".env is there already"
  exit
fi
umask 077
for name in RAY_AUTH_TOKEN POSTGRES_PASSWORD REDIS_PASSWORD S3_ACCESS_KEY S3_SECRET_KEY GRAFANA_PASSWORD; do
  printf '%s=%s\n' "$name" "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')"
done >.env
echo ".env: written"
