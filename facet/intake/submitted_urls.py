"""URLs as they are submitted: judged together, each host looked up once, in bounded time and by few threads.

A resolver that is silent keeps a lookup waiting for half a minute. So lookups have threads of their own, for which
nothing else waits, and a request waits a few seconds for all of its hosts together.
"""

import asyncio
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address

from facet.outbound.addresses import Address, AddressRules, NotResolved, Target, UrlRefused, look_up, parse_url

_SECONDS = 3.0
_THREADS = 8


class SubmittedUrls:
    """Judges what requests name; any number of them at once."""

    def __init__(self, rules: AddressRules, *, seconds: float = _SECONDS) -> None:
        """`seconds` bound the lookups of one request."""
        self._rules = rules
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(_THREADS, "resolver")

    async def refused(self, urls: Iterable[str]) -> dict[str, UrlRefused]:
        """Those of the URLs that the service does not call.

        A name that does not exist is refused. One that the resolver cannot answer for now is not: its addresses are
        checked again when it is called.
        """
        targets: dict[str, Target] = {}
        refused: dict[str, UrlRefused] = {}
        for url in dict.fromkeys(urls):
            try:
                targets[url] = parse_url(url)
            except UrlRefused as error:
                refused[url] = error
        doubtful = {url: target for url, target in targets.items() if not self._rules.lists_name(target)}
        found = await self._look_up({target.host for target in doubtful.values()})
        for url, target in doubtful.items():
            try:
                self._rules.judge(target, found[target.host].result())
            except UrlRefused as error:
                refused[url] = error
            except (NotResolved, asyncio.CancelledError):
                continue
        return refused

    async def _look_up(self, hosts: Iterable[str]) -> dict[str, asyncio.Future[list[Address]]]:
        """The hosts' addresses; cancelled is what the time did not suffice for."""
        found = {host: self._ask(host) for host in hosts}
        if found:
            await asyncio.wait(found.values(), timeout=self._seconds)
        for answer in found.values():
            answer.cancel()
        return found

    def _ask(self, host: str) -> "asyncio.Future[list[Address]]":
        if address := _literal(host):  # for which no busy thread is waited
            answer = asyncio.get_running_loop().create_future()
            answer.set_result([address])
            return answer
        return asyncio.wrap_future(self._threads.submit(look_up, host))


def _literal(host: str) -> Address | None:
    """The address that a host is in itself, in any form that resolvers take."""
    try:
        return IPv6Address(host) if ":" in host else IPv4Address(socket.inet_aton(host))
    except OSError:
        return None
