#!/usr/bin/env bash
# Guess: S3 clients obey HTTP_PROXY and HTTPS_PROXY alike, as nearly every HTTP client of Python does.
# Truth: boto3 sends its requests through the proxy; minio-py connects directly and says nothing. A proxy has to be
#   given to it as its own `http_client`.
# Date: 2026-11-30. Why it matters: where the object store is reached through a proxy alone, a service on minio-py sees
#   time-outs while the same settings work with boto3 and the AWS command line; where the store is local, the opposite.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check minio==7.2.20 boto3==1.43.117 urllib3==2.8.0
"$folder/venv/bin/python" - <<'PYTHON'
import http.server
import os
import threading
from importlib.metadata import version

seen = []


class Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        seen.append("proxy" if self.path.startswith("http") else "direct")
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


def serve():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"127.0.0.1:{server.server_port}"


proxy, store = serve(), serve()
for name in ("NO_PROXY", "no_proxy"):
    os.environ.pop(name, None)
os.environ["HTTP_PROXY"] = os.environ["http_proxy"] = f"http://{proxy}"

import boto3
import minio
import urllib3

keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
boto3.client("s3", endpoint_url=f"http://{store}", **keys).head_bucket(Bucket="photos")
arguments = {"access_key": "key", "secret_key": "secret12", "secure": False, "region": "us-east-1"}
minio.Minio(store, **arguments).bucket_exists("photos")
minio.Minio(store, http_client=urllib3.ProxyManager(f"http://{proxy}"), **arguments).bucket_exists("photos")
print("boto3", version("boto3"), "minio", version("minio"))
print("boto3, minio, minio with its own http_client:", seen)
assert seen == ["proxy", "direct", "proxy"], seen
PYTHON
echo "as described"
