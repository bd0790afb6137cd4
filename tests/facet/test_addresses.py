import socket
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facet.intake.submitted_urls import SubmittedUrls
from facet.outbound.addresses import AddressRules, NotResolved, UrlRefused, parse_url


def check(rules: AddressRules, url: str) -> None:
    """Judge a URL as a submitted one is. Raises UrlRefused."""
    for error in anyio.run(SubmittedUrls(rules).refused, [url]).values():
        raise error


NOT_PUBLIC = [
    # loopback and "this host", in every form that resolvers take
    "127.0.0.1", "127.8.9.10", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.1", "017700000001",
    "0.0.0.0", "0", "0.1.2.3", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "localhost", "LOCALHOST", "localhost.",
    "127。0。0。1",
    # private, carrier-grade NAT, link-local, and cloud metadata
    "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "192.168.257", "0xc0a80101", "100.64.0.1",
    "100.100.100.200", "169.254.169.254", "0xa9fea9fe", "2852039166", "0251.0376.0124776", "192.0.0.192",
    "168.63.129.16",
    # documentation, benchmarking, former relays, multicast, reserved, broadcast
    "192.0.2.1", "198.51.100.7", "203.0.113.9", "198.18.0.1", "192.88.99.1", "224.0.0.1", "239.255.255.250",
    "240.0.0.1", "255.255.255.255",
    # IPv6: unique local, link-local, site-local, multicast, discard, documentation
    "[fc00::1]", "[fd00:ec2::254]", "[fe80::1]", "[fec0::1]", "[ff02::1]", "[100::1]", "[2001:db8::1]", "[3fff::1]",
    # IPv4 inside IPv6: mapped, compatible, translated, NAT64 of both prefixes, 6to4, Teredo
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:10.0.0.1]", "[::127.0.0.1]", "[::ffff:0:127.0.0.1]",
    "[64:ff9b::7f00:1]", "[64:ff9b::10.0.0.1]", "[64:ff9b::169.254.169.254]", "[64:ff9b:1::8.8.8.8]",
    "[2002:7f00:1::]", "[2002:808:808::1]", "[2001:0:7f00:1::]", "[2001:10::1]", "[5f00::1]",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "134744072", "1.1.1.1:8443", "[2606:4700:4700::1111]", "[::ffff:8.8.8.8]", "[64:ff9b::8.8.8.8]"]


@pytest.mark.parametrize("host", NOT_PUBLIC)
def test_what_is_not_public_is_refused(host: str) -> None:
    with pytest.raises(UrlRefused) as refused:
        check(AddressRules(), f"http://{host}/callback")
    assert refused.value.code == "address-refused"
    assert "FACET_OUTBOUND_ALLOW" in refused.value.fix


@pytest.mark.parametrize("host", PUBLIC)
def test_what_is_public_is_allowed(host: str) -> None:
    check(AddressRules(), f"https://{host}/callback")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "javascript:alert(1)", "//example.com/",
        "example.com", "", "http://", "http:///path", "http:/example.com", "https://?x",
        "http://user@8.8.8.8/", "http://user:secret@8.8.8.8/", "http://@8.8.8.8/", "http://8.8.8.8\\@127.0.0.1/",
        "http://8.8.8.8#@127.0.0.1/", "http://8.8.8.8/#fragment", "http://8.8.8.8/#", "http://8.8.8.8/a b",
        "http://8.8.8.8/\r\nHost: x", "http://8.8.8.8\t/", " http://8.8.8.8/", "http://8.8.8.8:0/",
        "http://8.8.8.8:65536/", "http://8.8.8.8:x/", "http://[::1/", "http://[fe80::1%25eth0]/",
        "http://[fe80::1%1]/", "http://127.0.0.%31/", "http://①②⑦.⓪.⓪.①/", "http://１２７.0.0.1/",
        "http://a..b/", "http://0177.0.0.1/", "http://0251.0376.0251.0376/",
        "http://-a.example/", f"http://{'a' * 64}.example/",
    ],
)  # fmt: skip
def test_what_is_no_plain_url_is_refused(url: str) -> None:
    with pytest.raises(UrlRefused) as refused:
        check(AddressRules("0.0.0.0/0, ::/0, example.com, a.b"), url)
    assert refused.value.code == "invalid" and refused.value.fix


@pytest.mark.parametrize(
    ("allow", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:9000/x"),
        ("127.0.0.1", "http://2130706433/x"),
        ("127.0.0.0/8", "http://[::ffff:127.0.0.1]/"),
        ("127.0.0.1:9000", "http://127.0.0.1:9000/x"),
        ("10.0.0.0/8, ::1", "http://[::1]:81/"),
        ("fd00::/8 10.0.0.0/8", "https://10.1.2.3/"),
        ("[fd00::7]:90", "http://[fd00::7]:90/"),
        ("10.0.0.0/8:80", "http://10.1.1.1/"),
        ("Receiver.Internal", "http://receiver.internal:8080/"),
        ("receiver.internal:443", "https://RECEIVER.internal./x?y=1"),
        ("localhost", "http://localhost:1/"),
        ("64:ff9b:1::/48", "http://[64:ff9b:1::a00:1]/"),
    ],
)
def test_what_the_operator_lists_is_allowed(allow: str, url: str) -> None:
    check(AddressRules(allow), url)


@pytest.mark.parametrize(
    ("allow", "url"),
    [
        ("127.0.0.1:9000", "http://127.0.0.1:9001/"),
        ("127.0.0.1", "http://127.0.0.2/"),
        ("10.0.0.0/8", "http://11.0.0.1.example/"),
        ("receiver.internal", "http://x.receiver.internal/"),
        ("localhost:80", "http://localhost:81/"),
        ("10.0.0.0/8", "http://[64:ff9b::10.0.0.1]/"),
    ],
)
def test_what_the_operator_does_not_list_is_not(allow: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolver(private="10.9.9.9"))
    with pytest.raises(UrlRefused):
        check(AddressRules(allow if "example" not in url else ""), url)


@pytest.mark.parametrize("allow", ["10.0.0.1/8", "http://x/", "a:0", "a:70000", "[::1", "a b/", "*.example"])
def test_a_list_that_makes_no_sense_is_refused(allow: str) -> None:
    with pytest.raises(ValueError, match="no host, host:port or network"):
        AddressRules(allow)


def resolver(**names: str) -> Any:
    """A resolver that knows addresses as the system does, and gives every name that of `private`."""
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *args: Any, **options: Any) -> Any:
        return real(names["private"] if host.endswith(("internal", "example")) else host, port, *args, **options)

    return getaddrinfo


def test_one_address_that_is_not_public_among_several_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(2, 1, 6, "", (address, 80)) for address in ("8.8.8.8", "10.0.0.1", "1.1.1.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
    with pytest.raises(UrlRefused):
        check(AddressRules(), "http://mixed.example/")
    found.pop(1)
    check(AddressRules(), "http://mixed.example/")


def test_a_name_that_does_not_exist_is_refused_and_a_resolver_that_is_down_is_not_blamed_on_the_sender(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(errno: int) -> Any:
        def getaddrinfo(*args: Any, **options: Any) -> Any:
            raise socket.gaierror(errno, "said")

        return getaddrinfo

    monkeypatch.setattr(socket, "getaddrinfo", fails(socket.EAI_NONAME))
    with pytest.raises(UrlRefused) as refused:
        check(AddressRules(), "http://nowhere.example/")
    assert refused.value.code == "unknown-host"
    monkeypatch.setattr(socket, "getaddrinfo", fails(socket.EAI_AGAIN))
    check(AddressRules(), "http://nowhere.example/")
    with pytest.raises(NotResolved):
        AddressRules().resolve(parse_url("http://nowhere.example/"), 5)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_a_target_or_refused(text: str) -> None:
    for url in (text, f"http://{text}", f"http://{text}/x", f"http://[{text}]/", f"https://example.com/{text}"):
        try:
            target = parse_url(url)
        except UrlRefused:
            continue
        assert target.host.isascii() and target.path.startswith("/") and 0 < target.port < 65536
        assert not set(target.authority + target.path) & set("\r\n \t")
