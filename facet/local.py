"""What runs on this machine is asked here: by an address of its own, and through no proxy."""

import os
import socket
from collections.abc import MutableMapping
from importlib.util import find_spec
from ipaddress import ip_address

_NAMES = ("localhost", "127.0.0.1", "::1")
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own, which nobody else can reach."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def reachable(host: str) -> str:
    """The address at which this machine reaches what listens on `host`: loopback for what listens on every address."""
    return _EVERY_ADDRESS.get(host, host)


def url_of(host: str, port: int) -> str:
    """The URL at which this machine reaches what listens there."""
    name = reachable(host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def listens(host: str, port: int) -> bool:
    """Whether something of this machine takes connections there."""
    try:
        socket.create_connection((reachable(host), port), timeout=3).close()
    except OSError:
        return False
    return True


def spare_proxies(host: str, environment: MutableMapping[str, str] = os.environ) -> None:
    """Let no HTTP client of this process, nor of those that it starts, ask this machine through a proxy.

    Prefect's client makes no request at all, local or not, with a proxy of a kind that it cannot speak to, such as
    SOCKS without `socksio`. Such a proxy is dropped.
    """
    listed = environment.get("no_proxy") or environment.get("NO_PROXY", "")
    names = dict.fromkeys(name for name in [*listed.split(","), *_NAMES, reachable(host)] if name)
    environment["no_proxy"] = environment["NO_PROXY"] = ",".join(names)
    for name in [name for name in environment if name.lower() in _PROXIES]:
        scheme = environment[name].partition("://")[0].lower() if "://" in environment[name] else "http"
        if scheme not in ("http", "https") and not (scheme in ("socks5", "socks5h") and find_spec("socksio")):
            del environment[name]
