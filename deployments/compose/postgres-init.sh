#!/bin/sh
# Two users, each with a database of its own and no way into the other's. Runs once, when the volume is empty.
set -eu
for name in facet prefect; do
  psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d postgres -v name="$name" \
    -v password="$(cat "/run/secrets/${name}_db_password")" <<'SQL'
CREATE USER :"name" PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
done
