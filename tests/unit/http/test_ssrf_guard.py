import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address, ip_network
from ipaddress import _IPv4Constants as V4  # type: ignore[attr-defined]  # the registries are kept there alone
from ipaddress import _IPv6Constants as V6  # type: ignore[attr-defined]  # see above
from pathlib import Path

import pytest
from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.auth.token_request import PostForm
from pipeline.core.clock import SystemClock
from pipeline.core.model import PlainEvent
from pipeline.core.outcome import Delivered, Failed, Outcome, Rejected, ServerError
from pipeline.core.subscription import HttpLimits, Proxy, Subscription
from pipeline.http.own_names import own_names
from pipeline.http.proxy import SystemProxies
from pipeline.http.resolver import Resolver
from pipeline.http.ssrf_guard import Address, Guard, RefusedAddressError, guarded_socket
from pipeline.http.transport import Transport
from pipeline.http.webhook import Callback
from tests.support.names import Names
from tests.support.receiver import Receiver, answer, raw

REFUSED = {
    "the network of this host": ["0.0.0.0", "0.0.0.1", "0.255.255.255"],
    "the private network": [
        *("10.0.0.0", "10.1.2.3", "10.255.255.255", "172.16.0.0", "172.20.1.1", "172.31.255.255"),
        *("192.168.0.0", "192.168.1.1", "192.168.255.255", "fc00::", "fc00::1", "fd12:3456::1", "fdff:ffff::1"),
    ],
    "the shared network": ["100.64.0.0", "100.100.1.1", "100.127.255.255"],
    "the loopback network": ["127.0.0.0", "127.0.0.1", "127.1.2.3", "127.255.255.255"],
    "the loopback address": ["::1", "0:0:0:0:0:0:0:1"],
    "the unspecified address": ["::"],
    "the metadata address": ["169.254.169.254", "168.63.129.16", "fd00:ec2::254"],
    "the link-local network": ["169.254.0.1", "169.254.255.255", "fe80::", "fe80::1", "fe80::1%eth0", "febf::1"],
    "the site-local network": ["fec0::1", "feff::1"],
    "the protocol-assignment network": ["192.0.0.1", "192.0.0.170", "2001:2::1", "2001:10::1", "2001:20::1"],
    "the documentation network": [
        *("192.0.2.0", "192.0.2.255", "198.51.100.1", "203.0.113.255", "2001:db8::1", "3fff::1", "3fff:fff::1"),
    ],
    "the 6to4-relay network": ["192.88.99.1"],
    "the benchmark network": ["198.18.0.0", "198.19.255.255"],
    "the multicast network": ["224.0.0.1", "239.255.255.255", "ff00::", "ff02::1", "ff0e::1"],
    "the broadcast address": ["255.255.255.255"],
    "the reserved network": ["240.0.0.1", "255.255.255.254"],
    "the AS112 network": ["192.31.196.1", "192.175.48.1", "2620:4f:8000::1"],
    "the AMT network": ["192.52.193.1"],
    "the IPv4-mapped network": ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::ffff:a9fe:a9fe"],
    "the IPv4-translated network": ["::ffff:0:127.0.0.1"],
    "the IPv4-compatible network": ["::127.0.0.1", "::8.8.8.8", "::2"],
    "the NAT64 network": [
        *("64:ff9b::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b::0.0.0.0"),
        *("64:ff9b::192.168.1.1", "64:ff9b::255.255.255.255", "64:ff9b:1::1", "64:ff9b:1:ffff::10.0.0.1"),
    ],
    "the 6to4 network": ["2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:808:808::1"],
    "the Teredo network": ["2001:0:53aa:64c::1", "2001::1"],
    "the discard-only network": ["100::1"],
    "outside global unicast": [
        "1::1",
        "4000::1",
        "5f00::1",
        "8000::1",
        "e000::1",
        "64:ff9c::1",
        "100:0:0:1::1",
        "64:ff9b:2::1",
    ],
}
GOOD = [
    *("1.1.1.1", "8.8.8.8", "9.9.9.9", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"),
    *(
        "168.63.129.15",
        "168.63.129.17",
        "128.0.0.1",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "191.255.255.255",
        "192.0.1.1",
    ),
    *("192.0.3.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "198.51.101.0", "203.0.112.255"),
    *("203.0.114.0", "223.255.255.255", "2000::1", "2001:200::1", "2001:4860:4860::8888", "2003::1", "2606:4700::1111"),
    *("2a00:1450::1", "2620:fe::fe", "3ffe::1", "3fff:1000::1"),
    *("64:ff9b::8.8.8.8", "64:ff9b::808:808"),
]


EMBEDDING = [
    (int(IPv6Address(prefix)), shift)
    for prefix, shift in [
        ("64:ff9b::", 0),  # NAT64's well-known prefix is first: only here, the embedded address decides
        ("64:ff9b:1::", 0),
        ("::", 0),
        ("::ffff:0:0", 0),
        ("::ffff:0:0:0", 0),
        ("2002::", 80),
        ("2001::", 64),
    ]
]


def test_the_tables_of_addresses_are_complete() -> None:
    assert sum(map(len, REFUSED.values())) >= 60
    assert len(GOOD) >= 20


@pytest.mark.parametrize(
    ("address", "name"), [(address, name) for name, addresses in REFUSED.items() for address in addresses]
)
def test_the_refusal_of_an_address_names_its_network(address: str, name: str) -> None:
    verdict = Guard().verdict(address)
    assert verdict is not None
    assert name in verdict
    assert verdict.endswith("; WEBHOOKS_ALLOW_PRIVATE_NETWORKS can allow it")


@pytest.mark.parametrize("address", GOOD)
def test_public_addresses_are_allowed(address: str) -> None:
    assert Guard().verdict(address) is None


@pytest.mark.parametrize(
    "text", ["", "localhost", "127.1", "0x7f.0.0.1", "017700000001", "2130706433", "1.2.3.4.5", "::g", "127.0.0.01"]
)
def test_an_address_in_an_unusual_notation_is_refused(text: str) -> None:
    assert Guard().verdict(text) == f"{text} is not an address"


def test_the_error_names_the_network_and_the_setting() -> None:
    assert Guard().verdict("10.1.2.3") == (
        "10.1.2.3 is in the private network 10.0.0.0/8; WEBHOOKS_ALLOW_PRIVATE_NETWORKS can allow it"
    )


def test_an_allowed_network_does_not_open_its_neighbours() -> None:
    guard = Guard([ip_network("10.1.0.0/16"), ip_network("fd00:1::/32")])
    assert guard.verdict("10.1.255.255") is None
    assert guard.verdict("::ffff:10.1.0.1") is None
    assert guard.verdict("fd00:1::5") is None
    for closed in ("10.2.0.1", "::ffff:10.2.0.1", "::10.1.0.1", "64:ff9b::10.1.0.1", "2002:a01:1::", "fd00:2::1"):
        assert guard.verdict(closed) is not None


def special_networks() -> list[str]:
    """The networks that the guard refuses, and the registries in the standard library."""
    known = [network for kind in (V4, V6) for network in kind._private_networks]
    return sorted({*map(str, known), *(str(network) for network, _ in Guard()._refused)})


EDGES = [
    type(end)(number)
    for network in map(ip_network, special_networks())
    for end in (network.network_address, network.broadcast_address)
    for number in (int(end) - 1, int(end), int(end) + 1)
    if 0 <= number < 2**network.max_prefixlen
]


def is_for_everyone(address: Address) -> bool:
    """Whether an address is global according to the standard library."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address.is_global and not address.is_multicast and mapped is None


@pytest.mark.parametrize("address", EDGES, ids=str)
def test_the_first_and_last_address_of_a_network_are_refused(address: Address) -> None:
    assert is_for_everyone(address) or Guard().verdict(str(address)) is not None


@settings(max_examples=500)
@given(
    st.ip_addresses(v=4)
    | st.ip_addresses(v=6)
    | st.sampled_from(special_networks()).flatmap(lambda network: st.ip_addresses(network=network))
)
def test_every_non_global_address_of_ipaddress_is_refused(address: Address) -> None:
    assert is_for_everyone(address) or Guard().verdict(str(address)) is not None


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_embedded_in_ipv6_is_checked_too(address: IPv4Address) -> None:
    guard, number = Guard(), int(address)
    forms = [IPv6Address(prefix | number << shift) for prefix, shift in EMBEDDING]
    if guard.verdict(str(address)) is not None:
        assert all(guard.verdict(str(form)) is not None for form in forms)
    assert [form for form in forms if guard.verdict(str(form)) is None] in ([], [forms[0]])


def test_no_socket_is_made_for_a_refused_address() -> None:
    new_socket = guarded_socket(Guard())
    with pytest.raises(RefusedAddressError, match="the loopback network"):
        new_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 80)))
    with pytest.raises(RefusedAddressError, match="the link-local network"):
        new_socket((socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("fe80::1%1", 80, 0, 1)))


# The whole way from a subscription to a socket; no connection to these addresses is made


@asynccontextmanager
async def calling(resolver: AbstractResolver | None = None, guard: Guard | None = None) -> AsyncIterator[Callback]:
    transport = Transport(
        guard=guard or Guard(),
        max_in_flight=2,
        idle_timeout_seconds=1,
        system_proxies=SystemProxies(),
        resolver=Resolver if resolver is None else lambda: resolver,
    )
    await transport.start()
    yield Callback(transport, SystemClock(), user_agent="t/1", on_header_left_out=lambda _id, _name: None)
    await transport.close()


@pytest.fixture
async def guarded() -> AsyncIterator[Callback]:
    names = Names(inside=["10.0.0.7"], both=["10.0.0.7", "fd00::7"], metadata=["169.254.169.254"], v6=["::ffff:7f00:1"])
    async with calling(names) as callback:
        yield callback


async def call(callback: Callback, url: str, proxy: Proxy | None = None) -> Outcome:
    subscription = Subscription("s", 1, url, proxy=proxy, http=HttpLimits(connect_timeout_seconds=2))
    return await callback(subscription, PlainEvent("t", 0, 0, b"s", b""), 1)


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("inside", "10.0.0.7 is in the private network 10.0.0.0/8"),
        ("metadata", "169.254.169.254 is in the metadata address"),
        ("v6", "::ffff:7f00:1 is in the IPv4-mapped network"),
        ("both", "10.0.0.7 is in the private network 10.0.0.0/8"),
        ("both", "fd00::7 is in the private network fc00::/7"),
        ("127.0.0.1", "127.0.0.1 is in the loopback network"),
        ("[::1]", "::1 is in the loopback address"),
        ("[::ffff:169.254.169.254]", "the IPv4-mapped network"),
        ("[fe80::1%25eth0]", "the link-local network"),
    ],
)
async def test_host_names_and_addresses_are_both_checked(guarded: Callback, host: str, why: str) -> None:
    outcome = await call(guarded, f"http://{host}:1/")
    assert isinstance(outcome, Failed)
    assert why in outcome.error
    assert not outcome.may_have_arrived


NOTATIONS = [
    *("0x7f.0.0.1", "0x7f000001", "0X7F000001", "127.0x1", "0x7f.1", "0177.0.0.1", "017700000001", "127.1", "127.0.1"),
    *(
        "2130706433",
        "0",
        "0.0.0.0",
        "127.0.0.1.",
        "127.0.0.1..",
        "2852039166",
        "0xa9fea9fe",
        "169.254.43518",
        "1.1.1.1.1",
        "256.0.0.1",
    ),
    *("①27.0.0.1", "①②⑦.⓪.⓪.①", "127。0。0。1", "127．0．0．1", "⒈27.0.0.1", "%31%32%37.0.0.1"),  # noqa: RUF001 - odd on purpose
    *("127.0.0.1%00.good.example", "127.0.0.1%2f.good.example", "\x00127.0.0.1", "127.0.0.1 "),
    *("[::1]", "[::]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:a9fe:a9fe]"),
    *("[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::1%25lo]", "[fe80::1%25lo]", "[127.0.0.1]", "[::1%25 x]"),
    *("localhost", "LOCALHOST", "ⓛocalhost", "localhost.", "a.localhost", "l%6fcalhost", "loca\u00adlhost"),
    *("good.example@127.0.0.1", "good.example:80@127.0.0.1", "127.0.0.1\\@good.example", "good.example\\@127.0.0.1"),
]


class Hosts(ThreadedResolver):
    """The system's resolver, which accepts all notations of an address, and only the names of this machine."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if "localhost" not in host and not host.replace("x", "0").replace(".", "").isalnum():
            raise OSError(socket.EAI_NONAME, "no such name")
        return await super().resolve(host, port, family)


@pytest.mark.parametrize("host", NOTATIONS)
async def test_unusual_notations_reach_no_internal_address(host: str) -> None:
    async with calling(Hosts()) as callback:
        outcome = await call(callback, f"http://{host}:1/")
        assert isinstance(outcome, Failed)
        assert not outcome.may_have_arrived
        assert any(word in outcome.error for word in (" is in ", "notation", "resolved", "neither a name", "be read"))


@pytest.mark.parametrize("kind", ["http", "socks4", "socks5"])
@pytest.mark.parametrize("host", NOTATIONS)
async def test_internal_addresses_are_refused_before_a_proxy_is_used(host: str, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(0)
        through = Proxy(f"{kind}://127.0.0.1:{proxy.getsockname()[1]}")
        async with calling(None) as callback:
            for scheme in ("http", "https"):
                outcome = await call(callback, f"{scheme}://{host}:1/", through)
                assert isinstance(outcome, Failed)
                assert not outcome.may_have_arrived
                assert any(word in outcome.error for word in (" is in ", "not an address", "neither a name", "be read"))
        with pytest.raises(BlockingIOError):
            proxy.accept()


LOOPBACK_NAMES = [
    *("localhost", "a.localhost", "localhost4", "localhost6", "localhost.localdomain", "localhost6.localdomain6"),
    *("ip6-localhost", "ip6-loopback"),
]


@pytest.mark.parametrize("form", [str, str.upper, "{}.".format, "{}..".format])
@pytest.mark.parametrize("name", LOOPBACK_NAMES)
def test_a_loopback_name_is_refused_behind_a_proxy(name: str, form: Callable[[str], str]) -> None:
    verdict = Guard().verdict_on_host(form(name))
    assert verdict is not None
    assert verdict.startswith(f"{form(name)} is a loopback name: 127.0.0.1 is in ")
    assert Guard([ip_network("127.0.0.0/8")]).verdict_on_host(form(name)) is None


@pytest.mark.parametrize("host", ["worker-1", "WORKER-1.", "worker-1..", "worker-1.webhooks.example"])
def test_a_name_of_this_host_is_refused_behind_a_proxy(host: str) -> None:
    names = frozenset({"worker-1", "worker-1.webhooks.example"})
    assert Guard((), names).verdict_on_host(host) == f"{host} is a name of the worker's host"
    assert Guard([ip_network("127.0.0.0/8")], names).verdict_on_host(host) is None
    assert Guard((), names).verdict_on_host(f"other-{host}") is None


def test_this_host_s_names_come_from_host_name_and_hosts_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "Worker-1")
    hosts, resolv = tmp_path / "hosts", tmp_path / "resolv.conf"
    hosts.write_text(
        "127.0.0.1 localhost here # comment\n::1 v6-here\nnonsense x\n\n"
        "10.1.2.3\tworker-1.pods.example worker-1 alias\n10.1.2.4 neighbour\n# 127.0.0.1 not-here\n"
    )
    resolv.write_text("nameserver 127.0.0.1\nsearch ns.example cluster.example.\noptions ndots:5\n")
    assert own_names(hosts, resolv) == {
        *("worker-1", "localhost", "here", "v6-here", "worker-1.pods.example", "alias"),
        *("worker-1.ns.example", "worker-1.cluster.example"),
    }
    assert own_names(tmp_path / "none", tmp_path / "none") == {"worker-1"}


@pytest.mark.parametrize(
    "host", ["good.example", "1.1.1.1", "127.0.0.1.good.example", "mylocalhost", "localhost.good.example", "localhost7"]
)
def test_other_names_are_resolved_by_the_proxy(host: str) -> None:
    assert Guard().verdict_on_host(host) is None


def test_an_allowed_network_is_allowed_behind_a_proxy_too() -> None:
    guard = Guard([ip_network("127.0.0.0/8")])
    assert guard.verdict_on_host("localhost") is None
    assert guard.verdict_on_host("127.0.0.1") is None
    assert guard.verdict_on_host("127.1") == "127.1 is not an address"
    assert guard.verdict_on_host("10.0.0.1") is not None


# Names with several addresses, and names that change


LOOPBACK = Guard([ip_network("127.0.0.0/8")])
INSIDE = ["10.0.0.7", "169.254.169.254", "fd00::7", "::1"]


async def test_a_name_is_called_only_at_its_allowed_addresses() -> None:
    for addresses in (["127.0.0.1", *INSIDE], [*INSIDE, "127.0.0.1"], ["10.0.0.7", "127.0.0.1", "::1"]):
        async with Receiver() as receiver:
            async with calling(Names(mixed=addresses), LOOPBACK) as callback:
                assert await call(callback, f"http://mixed:{receiver.port}/") == Delivered(200)
            assert receiver.connections == 1


async def test_after_a_failed_connection_no_refused_address_is_tried() -> None:
    async with Receiver() as receiver:
        port = receiver.port
    async with calling(Names(mixed=["127.0.0.1", *INSIDE]), LOOPBACK) as callback:
        outcome = await call(callback, f"http://mixed:{port}/")
        assert isinstance(outcome, Failed)
        assert not outcome.may_have_arrived


async def test_a_failure_has_the_reasons_of_both_families() -> None:
    async with Receiver() as receiver:
        port = receiver.port
    async with calling(Names(mixed=["fd00::7", "127.0.0.1"]), LOOPBACK) as callback:
        outcome = await call(callback, f"http://mixed:{port}/")
        assert isinstance(outcome, Failed)
        assert f"connection refused by mixed:{port}" in outcome.error
        assert "fd00::7 is in the private network" in outcome.error


async def test_a_name_is_checked_again_at_each_attempt() -> None:
    names = Names(changing=["127.0.0.1"])
    async with Receiver(raw(b"HTTP/1.1 503 -\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")) as receiver:
        async with calling(names, LOOPBACK) as callback:
            assert isinstance(await call(callback, f"http://changing:{receiver.port}/"), ServerError)
            names.addresses["changing"] = ["10.0.0.7"]
            callback._transport._straight.clear_dns_cache()
            outcome = await call(callback, f"http://changing:{receiver.port}/")
            assert isinstance(outcome, Failed)
            assert "10.0.0.7 is in the private network" in outcome.error
            assert names.asked == 2
        assert len(receiver.requests) == 1


async def test_a_redirect_to_an_internal_address_is_not_followed() -> None:
    async with Receiver(answer(307, headers=[("Location", "http://127.0.0.1:1/"), ("Refresh", "0;url=/")])) as receiver:
        async with calling(None, LOOPBACK) as callback:
            assert await call(callback, receiver.url) == Rejected(307)
        assert len(receiver.requests) == 1


async def test_a_token_endpoint_is_checked_like_a_callback() -> None:
    names = Names(inside=["10.0.0.7"])
    transport = Transport(
        guard=Guard(), max_in_flight=2, idle_timeout_seconds=1, system_proxies=SystemProxies(), resolver=lambda: names
    )
    await transport.start()
    subscription = Subscription("s", 1, "http://1.1.1.1/", http=HttpLimits(connect_timeout_seconds=2))
    for url in ("http://inside:1/", "https://inside:1/", "http://[::ffff:a9fe:a9fe]:1/", "http://127.0.0.1:1/"):
        got = await PostForm(transport, "t/1")(subscription, url, "client_secret=hidden", {})
        assert isinstance(got, Failed)
        assert " is in the " in got.error
        assert not got.may_have_arrived
    await transport.close()
