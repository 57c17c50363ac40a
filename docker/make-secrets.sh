#!/usr/bin/env bash
# Creates the secrets of docker/compose.yaml: random, one file each; existing ones are kept.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# The folder's mode keeps other users out; the files in it must be readable by the containers' users.
mkdir -p -m 700 secrets
for name in ray-token redis-password postgres-password mlflow-password mlflow-secret-key s3-access-key s3-secret-key grafana-password; do
    [ -s "secrets/$name" ] || od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"secrets/$name"
done
[ -s secrets/s3-identities ] || printf '{"identities": [{"name": "kdstudy", "credentials": [{"accessKey": "%s", "secretKey": "%s"}], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}\n' \
    "$(cat secrets/s3-access-key)" "$(cat secrets/s3-secret-key)" >secrets/s3-identities
chmod 644 secrets/*
