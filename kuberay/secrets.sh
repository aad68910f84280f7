#!/usr/bin/env bash
# Makes the Secrets that the manifests name, with random values, and leaves alone those that are there:
#   bash kuberay/secrets.sh [NAMESPACE]
# For managed stores create those Secrets yourself, with the same names and keys.
set -euo pipefail
namespace=${1:-rayfleet}

# Hexadecimal, since the password of PostgreSQL becomes part of an address.
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

secret() { # NAME KEY...
  local name=$1 key
  shift
  if kubectl --namespace "$namespace" get secret "$name" >/dev/null 2>&1; then
    echo "secret $name is there already"
    return
  fi
  # Through a pipe, so that no value shows up in a list of processes.
  {
    printf 'apiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\nstringData:\n' "$name"
    for key in "$@"; do printf '  %s: "%s"\n' "$key" "$(random)"; done
  } | kubectl --namespace "$namespace" create -f -
}

secret ray-auth-token auth_token
secret postgres password
secret s3 access-key secret-key
secret redis password
