#!/usr/bin/env bash
# Guess: minio-py's put_object of bytes whose length is known is one PUT, up to the 5 GiB that S3 allows.
# Truth: from 5 MiB + 1 byte on it is a multipart upload with parts of 5 MiB. A process that dies in between leaves an
#   incomplete upload: list_objects does not show it, removing the bucket's objects does not remove it, and it is
#   billed. `part_size` of the whole length (at least 5 MiB) makes it one PUT.
# Date: 2026-11-30. Why it matters: photos of phones are around that size, so the two ways alternate unnoticed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check minio==7.2.20 'moto[s3,server]==5.2.5'
"$folder/venv/bin/python" - <<'PYTHON'
import io
import logging
from importlib.metadata import version

import minio
import urllib3
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
server.start()
host, port = server.get_host_and_port()


class Recording(urllib3.PoolManager):
    """Counts what is sent; with `dies` it answers no third request, as a process that is killed sends none."""

    sent: list[str] = []
    dies = False

    def urlopen(self, method, url, *arguments, **options):
        if self.dies and method != "POST" and "partNumber=2" in url:
            raise KeyboardInterrupt
        self.sent.append(method)
        return super().urlopen(method, url, *arguments, **options)


http = Recording()
client = minio.Minio(
    f"{host}:{port}", access_key="key", secret_key="secret12", secure=False, region="us-east-1", http_client=http
)
client.make_bucket("photos")
print("minio", version("minio"), "moto", version("moto"))
five = 5 * 1024 * 1024
for length, options, expected in (
    (five, {}, ["PUT"]),
    (five + 1, {}, ["POST", "PUT", "PUT", "POST"]),
    (five + 1, {"part_size": five + 1}, ["PUT"]),
):
    http.sent.clear()
    client.put_object("photos", "whole", io.BytesIO(bytes(length)), length, **options)
    print(f"{length} bytes {options}: {http.sent}")
    assert http.sent == expected, http.sent

Recording.dies = True
try:
    client.put_object("photos", "cut", io.BytesIO(bytes(five + 1)), five + 1, num_parallel_uploads=1)
except KeyboardInterrupt:
    pass
Recording.dies = False
listed = [each.object_name for each in client.list_objects("photos", recursive=True)]
client.remove_object("photos", "cut")
left = [upload.object_name for upload in client._list_multipart_uploads("photos").uploads]
print("objects that are listed:", listed, "incomplete uploads that are left:", left)
assert listed == ["whole"] and left == ["cut"], (listed, left)
server.stop()
PYTHON
echo "as described"
