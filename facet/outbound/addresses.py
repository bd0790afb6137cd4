"""Which addresses the service may call on a stranger's word: public ones, and those that the operator lists.

A URL is taken apart once, into a `Target`, and what is checked is what is connected to:
`facet.outbound.egress` connects to the very addresses that `AddressRules.resolve` returns.
"""

import re
import socket
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from threading import Thread

import httpx

Address = IPv4Address | IPv6Address

_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")

# IANA's special-purpose registries, and Azure's platform address, which lies among public ones.
_NOT_PUBLIC_4 = [
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
]
# Only global unicast is public, less protocol assignments with Teredo, documentation and 6to4. Loopback, mapped,
# translated, unique local, link-local, site-local and multicast addresses all lie outside it.
_GLOBAL_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = [IPv6Network(n) for n in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")]
_NAT64 = IPv6Network("64:ff9b::/96")


class UrlRefused(Exception):
    """A URL that the service does not call. The message says why, `fix` how to mend it; `code` is for programs."""

    def __init__(self, message: str, fix: str, code: str = "invalid") -> None:
        super().__init__(message)
        self.fix = fix
        self.code = code


class NotResolved(Exception):
    """The host's name cannot be resolved now."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart: `host` in lower-case ASCII without brackets or final dot, `path` with its query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def parse_url(url: str) -> Target:
    """Raises UrlRefused for what is no plain http or https URL."""
    fix = "Send a URL such as https://example.com/path."
    if _UNSAFE.search(url):
        raise UrlRefused("The URL holds a space, a backslash or a control character.", fix)
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise UrlRefused("The URL is malformed.", fix) from error
    scheme, host = parsed.scheme, parsed.raw_host.decode("ascii").removesuffix(".")
    if scheme not in _PORTS:
        raise UrlRefused("The URL's scheme is neither http nor https.", fix)
    if "@" in url.split("//", 1)[-1].split("/", 1)[0].split("?", 1)[0]:
        raise UrlRefused("The URL holds credentials.", "Send it without the part before the @.")
    if "#" in url:
        raise UrlRefused("The URL holds a fragment.", "Send it without the # and what follows.")
    if not (_is_ipv6(host) or _NAME.fullmatch(host)):
        raise UrlRefused("The URL's host is neither a name nor an address.", fix)
    port = _PORTS[scheme] if parsed.port is None else parsed.port
    if not 0 < port < 65536:
        raise UrlRefused("The URL's port is not from 1 to 65535.", fix)
    return Target(scheme, host, port, parsed.raw_path.decode("ascii"))


def is_public(address: Address) -> bool:
    """Whether the address is one of the public internet, whichever way it is written."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return is_public(IPv4Address(address.packed[-4:]))
        if mapped := address.ipv4_mapped:
            return is_public(mapped)
        return address in _GLOBAL_6 and not any(address in network for network in _NOT_PUBLIC_6)
    return not any(address in network for network in _NOT_PUBLIC_4)


class AddressRules:
    """Public addresses, and the hosts and networks of the operator's list."""

    def __init__(self, allow: str = "") -> None:
        """`allow`: host names, addresses and networks, each with `:port` or not. Raises ValueError."""
        self._names: list[tuple[str, int | None]] = []
        self._networks: list[tuple[IPv4Network | IPv6Network, int | None]] = []
        for entry in re.split(r"[\s,]+", allow.strip()):
            if entry:
                self._allow(entry)

    def _allow(self, entry: str) -> None:
        host, port = _split_port(entry.lower())
        try:
            self._networks.append((ip_network(host), port))
        except ValueError as error:
            if "/" in host or not _NAME.fullmatch(host) or (port is not None and not 0 < port < 65536):
                raise ValueError(f"{entry!r} is no host, host:port or network ({error})") from None
            self._names.append((host.removesuffix("."), port))

    def resolve(self, target: Target, seconds: float) -> Sequence[Address]:
        """The addresses to connect to, every one of them allowed. Raises UrlRefused or NotResolved."""
        addresses = _look_up_within(target.host, seconds)
        self.judge(target, addresses)
        return addresses

    def judge(self, target: Target, addresses: Sequence[Address]) -> None:
        """Raises UrlRefused, unless all addresses of the target's host are allowed."""
        if not self.lists_name(target) and not all(self._allows(address, target.port) for address in addresses):
            raise UrlRefused(
                "The URL's host has an address that is not public.",
                "Send a URL of a public host, or ask the operator to list it in FACET_OUTBOUND_ALLOW.",
                "address-refused",
            )

    def lists_name(self, target: Target) -> bool:
        """Whether the operator's list has the host by its name, wherever that leads."""
        return any(target.host == name and port in (None, target.port) for name, port in self._names)

    def _allows(self, address: Address, port: int) -> bool:
        if isinstance(address, IPv6Address):
            address = address.ipv4_mapped or address
        listed = any(address in network and allowed in (None, port) for network, allowed in self._networks)
        return listed or is_public(address)


def _is_ipv6(host: str) -> bool:
    """An address without a zone, which would name one of this machine's own interfaces."""
    try:
        return ":" in host and "%" not in host and bool(IPv6Address(host))
    except ValueError:
        return False


def _split_port(entry: str) -> tuple[str, int | None]:
    if bracketed := re.fullmatch(r"\[([^]]+)\](?::(\d+))?", entry):
        return bracketed[1], int(bracketed[2]) if bracketed[2] else None
    if ported := re.fullmatch(r"([^:]+):(\d+)", entry):
        return ported[1], int(ported[2])
    return entry, None


def look_up(host: str) -> list[Address]:
    """Resolve as the system does, every form of an address too. Raises UrlRefused or NotResolved."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(ip_address(entry[4][0]) for entry in found))
    except Exception as error:
        if isinstance(error, UnicodeError) or (isinstance(error, socket.gaierror) and error.errno in _NO_SUCH_NAME):
            raise UrlRefused("The URL's host does not exist.", "Check the host's name.", "unknown-host") from error
        raise NotResolved(f"The resolver does not answer: {error}") from error
    if not addresses:
        raise NotResolved("The resolver gives no address.")
    return addresses


def _look_up_within(host: str, seconds: float) -> list[Address]:
    """The same, in bounded time."""
    answer: Future[list[Address]] = Future()

    def ask() -> None:
        try:
            answer.set_result(look_up(host))
        except Exception as error:
            answer.set_exception(error)

    Thread(target=ask, name="resolver", daemon=True).start()
    try:
        return answer.result(timeout=max(0.0, seconds))
    except TimeoutError:
        raise NotResolved("The resolver does not answer in time.") from None


_NO_SUCH_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
