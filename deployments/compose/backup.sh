#!/bin/sh
# Backs the service up while it runs: `sh deployments/compose/backup.sh FOLDER`. Repeating it takes new objects only.
# The database goes first: each of its rows then has its objects, and an object without a row is removed by `maintain`.
# Prefect's database is a view of the work, and is made anew where the backup is restored.
set -eu
mkdir -p "${1:?usage: backup.sh FOLDER}/objects"
to=$(cd "$1" && pwd)
docker compose exec -T postgres pg_dump -U postgres -Fc facet > "$to/facet.dump.part"
mv "$to/facet.dump.part" "$to/facet.dump"
docker compose run --rm --no-deps -T --user "$(id -u):$(id -g)" -v "$to/objects:/backup" api \
  python -m deployments.containers.objects export /backup
