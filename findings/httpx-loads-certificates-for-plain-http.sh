#!/usr/bin/env bash
# Guess: `httpx.get` to an `http://` URL has nothing to do with certificates.
# Truth: each call of `httpx.get`, `httpx.post` and their like makes a client of its own, and each client loads the whole
#   bundle of trusted certificates before it connects, whatever the URL's scheme. Against a local server that takes
#   far longer than the answer. `verify=False`, which changes nothing for plain HTTP, leaves it out; one
#   client for all calls loads it once.
# Date: 2026-11-30. Why it matters: whoever polls a local health endpoint so spends most of a core's time on certificates: a stack
#   whose parts waited for one another this way took several CPU seconds longer to start.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check httpx==0.28.1
"$folder/venv/bin/python" - <<'PYTHON'
import http.server
import ssl
import threading
import time

import httpx

loads = 0
load = ssl.SSLContext.load_verify_locations
load_default = ssl.SSLContext.load_default_certs


def counted(function):
    def call(*arguments, **options):
        global loads
        loads += 1
        return function(*arguments, **options)

    return call


ssl.SSLContext.load_verify_locations = counted(load)
ssl.SSLContext.load_default_certs = counted(load_default)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/"


def measure(get):
    global loads
    loads, begun = 0, time.process_time()
    for _ in range(20):
        assert get().status_code == 204
    return loads, 1000 * (time.process_time() - begun) / 20


print("httpx", httpx.__version__)
each = measure(lambda: httpx.get(url))
without = measure(lambda: httpx.get(url, verify=False))
with httpx.Client() as client:
    shared = measure(lambda: client.get(url))
for name, (count, cost) in {"httpx.get": each, "verify=False": without, "one client": shared}.items():
    print(f"{name:12}: certificates loaded {count:2} times for 20 requests, {cost:.1f} ms of CPU each, server included")
assert each[0] >= 20 and without[0] == 0 and shared[0] == 0
assert each[1] > 3 * shared[1]
PYTHON
echo "as described"
