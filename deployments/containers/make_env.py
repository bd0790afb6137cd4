"""`make env`: writes `.env` and a folder of random secrets, for docker-compose.yaml. Needs Python alone."""

import secrets
import sys
from base64 import b64encode
from pathlib import Path

_ENV = """\
# Written by `make env`; read by docker compose. The secrets are files in this folder, one each, which only its owner
# may enter. Without SECRETS_DIR nothing starts.
SECRETS_DIR={folder}

# Where the API is published; 0.0.0.0 lets others in, who need a key all the same.
FACET_BIND=127.0.0.1
FACET_PORT=8000
FACET_PUBLIC_URL=http://localhost:8000

# Where Prefect's server and its UI are published: to operators only. It has one password for all, over plain HTTP;
# leave it on loopback and reach it through SSH, or put a proxy with TLS before it.
PREFECT_BIND=127.0.0.1
PREFECT_PORT=4200
"""


def make_secrets() -> dict[str, str]:
    """A value for each secret's file, all random."""
    redis = secrets.token_hex(24)
    prometheus = secrets.token_urlsafe(32)
    return {
        "postgres_password": secrets.token_hex(24),
        "facet_db_password": secrets.token_hex(24),
        "prefect_db_password": secrets.token_hex(24),
        "redis_password": redis,
        "redis_url": f"redis://:{redis}@redis:6379/0",
        "s3_secret_key": secrets.token_hex(20),
        "prefect_auth": f"admin:{secrets.token_hex(16)}",
        # Prometheus reads the metrics and, since it owns no image, nothing else. The administrator's key is the last.
        "api_keys": f"prometheus:read:{prometheus},admin:admin:{secrets.token_urlsafe(32)}",
        "prometheus_key": prometheus,
        "link_secret": secrets.token_urlsafe(32),
        "webhook_secrets": f"whsec_{b64encode(secrets.token_bytes(32)).decode()}",
        "grafana_password": secrets.token_hex(16),
    }


def write(env: Path, folder: Path) -> None:
    """Raises FileExistsError rather than replace what a running stack was made with."""
    for path in (env, folder):
        if path.exists():
            raise FileExistsError(path)
    folder.mkdir(mode=0o700)
    for name, value in make_secrets().items():
        # Containers read them as users of their own; on the host the folder keeps everyone else out.
        path = folder / name
        path.write_text(value)
        path.chmod(0o444)
    env.write_text(_ENV.format(folder=folder.absolute()))
    env.chmod(0o600)


def main() -> int:
    root = Path.cwd()
    try:
        write(root / ".env", root / ".secrets")
    except FileExistsError as error:
        print(f"{error} is there already: a running stack depends on it. Remove it to make all anew.", file=sys.stderr)
        return 1
    print(f"Written: .env and .secrets. The API's admin key is the last part of {root / '.secrets' / 'api_keys'}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
