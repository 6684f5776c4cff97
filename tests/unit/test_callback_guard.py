import socket
from collections.abc import AsyncIterator
from ipaddress import ip_network

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from pipeline.callback.callback import Callback
from pipeline.callback.guard import Guard, RefusedAddressError, guarded_socket
from pipeline.callback.routes import SystemProxies
from pipeline.callback.transport import Transport
from pipeline.clock import SystemClock
from pipeline.model import HttpLimits, Proxy, Record, Subscription
from pipeline.outcome import Failed, Outcome

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
    "the metadata address": ["169.254.169.254", "fd00:ec2::254"],
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
    "the NAT64 network": ["64:ff9b::127.0.0.1", "64:ff9b::8.8.8.8", "64:ff9b:1::1", "64:ff9b:1:ffff::10.0.0.1"],
    "the 6to4 network": ["2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:808:808::1"],
    "the Teredo network": ["2001:0:53aa:64c::1", "2001::1"],
    "the discard-only network": ["100::1"],
    "outside of global unicast": [
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
    *("128.0.0.1", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.1"),
    *("192.0.3.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "198.51.101.0", "203.0.112.255"),
    *("203.0.114.0", "223.255.255.255", "2000::1", "2001:200::1", "2001:4860:4860::8888", "2003::1", "2606:4700::1111"),
    *("2a00:1450::1", "2620:fe::fe", "3ffe::1", "3fff:1000::1"),
]


def test_the_tables_are_as_long_as_they_should_be() -> None:
    assert sum(map(len, REFUSED.values())) >= 60
    assert len(GOOD) >= 20


@pytest.mark.parametrize(
    ("address", "name"), [(address, name) for name, addresses in REFUSED.items() for address in addresses]
)
def test_what_is_not_for_everyone_is_refused_by_its_name(address: str, name: str) -> None:
    verdict = Guard().verdict(address)
    assert verdict is not None
    assert name in verdict
    assert verdict.endswith("; WEBHOOKS_ALLOW_PRIVATE_NETWORKS can open it")


@pytest.mark.parametrize("address", GOOD)
def test_public_addresses_are_good(address: str) -> None:
    assert Guard().verdict(address) is None


@pytest.mark.parametrize(
    "text", ["", "localhost", "127.1", "0x7f.0.0.1", "017700000001", "2130706433", "1.2.3.4.5", "::g", "127.0.0.01"]
)
def test_what_is_no_address_in_its_usual_notation_is_refused(text: str) -> None:
    assert Guard().verdict(text) == f"{text} is not an address"


def test_the_sentence_names_the_network_and_the_setting() -> None:
    assert Guard().verdict("10.1.2.3") == (
        "10.1.2.3 is in the private network 10.0.0.0/8; WEBHOOKS_ALLOW_PRIVATE_NETWORKS can open it"
    )


def test_a_named_network_is_open_and_its_neighbours_stay_closed() -> None:
    guard = Guard([ip_network("10.1.0.0/16"), ip_network("fd00:1::/32")])
    assert guard.verdict("10.1.255.255") is None
    assert guard.verdict("::ffff:10.1.0.1") is None
    assert guard.verdict("fd00:1::5") is None
    for closed in ("10.2.0.1", "::ffff:10.2.0.1", "::10.1.0.1", "64:ff9b::10.1.0.1", "2002:a01:1::", "fd00:2::1"):
        assert guard.verdict(closed) is not None


@given(st.ip_addresses(v=4))
def test_whatever_the_standard_library_calls_private_is_refused(address: object) -> None:
    is_global = address.is_global and not address.is_multicast  # type: ignore[attr-defined]  # an IPv4Address
    assert is_global or Guard().verdict(str(address)) is not None


def test_the_socket_of_a_refused_address_is_never_made() -> None:
    new_socket = guarded_socket(Guard())
    with pytest.raises(RefusedAddressError, match="the loopback network"):
        new_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 80)))
    with pytest.raises(RefusedAddressError, match="the link-local network"):
        new_socket((socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("fe80::1%1", 80, 0, 1)))


# The whole way: nothing below is ever connected to


class Names(AbstractResolver):
    """A resolver that says what it is told to, counting the questions."""

    def __init__(self, **addresses: list[str]) -> None:
        self._addresses = addresses
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in self._addresses[host]
        ]

    async def close(self) -> None:
        pass


@pytest.fixture
async def guarded() -> AsyncIterator[Callback]:
    names = Names(inside=["10.0.0.7"], both=["10.0.0.7", "fd00::7"], metadata=["169.254.169.254"], v6=["::ffff:7f00:1"])
    async for callback in calling(names):
        yield callback


@pytest.fixture
async def resolving() -> AsyncIterator[Callback]:
    """With the real resolver: it turns odd notations into addresses, without asking anybody."""
    async for callback in calling(None):
        yield callback


async def calling(resolver: AbstractResolver | None) -> AsyncIterator[Callback]:
    transport = Transport(
        guard=Guard(), max_in_flight=2, idle_timeout_seconds=1, system_proxies=SystemProxies(), resolver=resolver
    )
    await transport.start()
    yield Callback(transport, SystemClock(), user_agent="t/1", on_header_left_out=lambda _id, _name: None)
    await transport.close()


async def call(callback: Callback, url: str, proxy: Proxy | None = None) -> Outcome:
    subscription = Subscription("s", 1, url, proxy=proxy, http=HttpLimits(connect_timeout_seconds=2))
    return await callback(subscription, Record("t", 0, 0, b"s", b""), 1)


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
async def test_a_name_is_judged_by_its_addresses_and_a_literal_as_it_is(guarded: Callback, host: str, why: str) -> None:
    outcome = await call(guarded, f"http://{host}:1/")
    assert isinstance(outcome, Failed)
    assert why in outcome.error
    assert not outcome.may_have_arrived


@pytest.mark.parametrize(
    "host", ["0x7f.0.0.1", "0x7f000001", "127.0x1", "0177.0.0.1", "127.1", "2130706433", "0", "①27.0.0.1"]
)
async def test_odd_notations_reach_nothing(resolving: Callback, host: str) -> None:
    outcome = await call(resolving, f"http://{host}:1/")
    assert isinstance(outcome, Failed)
    assert not outcome.may_have_arrived
    assert any(word in outcome.error for word in ("127.0.0.1 is in", "usual notation", "can't be resolved"))


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "[::1]", "2130706433"])
async def test_behind_a_proxy_an_address_in_the_url_is_judged(guarded: Callback, host: str) -> None:
    outcome = await call(guarded, f"http://{host}:1/", Proxy("http://inside:3128"))
    assert isinstance(outcome, Failed)
    assert "is in the" in outcome.error or "is not an address" in outcome.error
    assert not outcome.may_have_arrived
