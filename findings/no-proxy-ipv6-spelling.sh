#!/usr/bin/env bash
# Guess: `NO_PROXY` has one spelling for the IPv6 loopback address, and a wrong entry is at worst not matched.
# Truth: requests and httpx want `::1`, the standard library wants `[::1]`, and with `[::1]` in the list httpx cannot
#   make any client: it raises InvalidURL, for IPv4 addresses and host names as well. A network such as
#   127.0.0.0/8 exempts an address for requests alone; the other two go on using the proxy.
# Date: 2026-11-30. Why it matters: a service that calls its own parts by loopback behind a company's proxy must list
#   `localhost,127.0.0.1,::1`, and must not add the bracketed form for the standard library's sake.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check httpx==0.28.1 requests==2.34.2
"$folder/venv/bin/python" - <<'PYTHON'
import http.server
import os
import socket
import threading
import urllib.request

import httpx
import requests

paths = []


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        paths.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


class Server6(Server):
    address_family = socket.AF_INET6


def serve(kind, address):
    server = kind((address, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


proxy = f"http://127.0.0.1:{serve(Server, '127.0.0.1')}"
os.environ["HTTP_PROXY"] = os.environ["http_proxy"] = proxy
urls = {"IPv4": f"http://127.0.0.1:{serve(Server, '127.0.0.1')}/", "IPv6": f"http://[::1]:{serve(Server6, '::1')}/"}
clients = {
    "httpx": lambda url: httpx.get(url, timeout=5),
    "requests": lambda url: requests.get(url, timeout=5),
    "urllib": lambda url: urllib.request.urlopen(url, timeout=5),
}


def way(get, url):
    paths.clear()
    try:
        get(url)
    except Exception as error:
        return type(error).__name__
    return "proxy" if paths[0].startswith("http") else "direct"


expected = {
    "::1": {"IPv4": ("proxy", "proxy", "proxy"), "IPv6": ("direct", "direct", "proxy")},
    "[::1]": {"IPv4": ("InvalidURL", "proxy", "proxy"), "IPv6": ("InvalidURL", "proxy", "direct")},
    "127.0.0.0/8": {"IPv4": ("proxy", "direct", "proxy"), "IPv6": ("proxy", "proxy", "proxy")},
    "127.0.0.1,::1": {"IPv4": ("direct", "direct", "direct"), "IPv6": ("direct", "direct", "proxy")},
}
print("httpx", httpx.__version__, "requests", requests.__version__)
for listed, rows in expected.items():
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = listed
    for family, ways in rows.items():
        found = tuple(way(get, urls[family]) for get in clients.values())
        print(f"NO_PROXY={listed:14} to {family}: " + ", ".join(f"{c} {w}" for c, w in zip(clients, found)))
        assert found == ways, (listed, family, found, ways)
PYTHON
echo "as described"
