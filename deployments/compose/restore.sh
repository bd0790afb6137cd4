#!/bin/sh
# Restores a backup into an empty stack and starts it: `sh deployments/compose/restore.sh FOLDER`.
# The secrets may be new ones. What was unfinished at the time of the backup goes on by itself.
set -eu
from=$(cd "${1:?usage: restore.sh FOLDER}" && pwd)
docker compose up -d --wait postgres minio
docker compose exec -T postgres pg_restore -U postgres -d facet --role=facet --no-owner --exit-on-error --single-transaction \
  < "$from/facet.dump"
docker compose run --rm --no-deps -T --user "$(id -u):$(id -g)" -v "$from/objects:/backup" api \
  python -m deployments.containers.objects import /backup
docker compose up -d --wait
