#!/bin/sh
# Secrets come from files: FACET_S3_SECRET_KEY_FILE=/run/secrets/s3_secret_key sets FACET_S3_SECRET_KEY to what that file
# holds. So for every variable of Facet and Prefect, and for PGPASSWORD, which is libpq's own.
set -eu
for name in $(env | sed -n 's/^\(FACET_[A-Z0-9_]*\|PREFECT_[A-Z0-9_]*\|PGPASSWORD\)_FILE=.*/\1/p'); do
  eval "file=\$${name}_FILE"
  [ -r "$file" ] || { echo "${name}_FILE: $file cannot be read." >&2; exit 1; }
  export "$name=$(cat "$file")"
done
exec "$@"
