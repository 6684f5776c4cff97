"""Subscriptions with the same host share only state about this host."""

from collections.abc import AsyncIterator
from ipaddress import ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.core.errors import ConfigurationError
from pipeline.core.subscription import HttpLimits, Proxy, TlsOptions
from pipeline.http.destination import Destination, _parsed_target, origin_of, written_target
from pipeline.http.proxy import SystemProxies
from pipeline.http.ssrf_guard import Guard
from pipeline.http.transport import Transport

ORIGINS = (
    "http://a.example",
    "https://a.example",
    "http://a.example:8080",
    "http://A.example",
    "http://b.example",
    "http://user:secret@a.example",
    "http://other:secret@a.example",
    "http://a%40b@a.example",
    "http://[::1]:8080",
    "http://127.0.0.1",
    "http://a.example.",
)
TARGETS = ("", "/", "/hook", "/hook/../x", "/a%2Fb?c=d&e=%zz#f", "?", "?only=query", "#part", "/ü ", "/@b.example/x:1")


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    found = new()
    await found.start()
    yield found
    await found.close()


def new() -> Transport:
    guard = Guard([ip_network("127.0.0.0/8")])
    return Transport(guard=guard, max_in_flight=4, idle_timeout_seconds=9.0, system_proxies=SystemProxies({}))


async def asked(transport: Transport, url: str, limits: HttpLimits | None = None, **more: object) -> Destination:
    options = {"tls": TlsOptions(), "proxy": None, "use_system_proxy": False, **more}
    return await transport.destination(url, limits=limits or HttpLimits(), **options)  # type: ignore[arg-type]  # of any kind


def told(destination: Destination) -> tuple[object, ...]:
    """All observable properties of a destination."""
    names = [name for name in Destination.__slots__ if name not in {"dial", "target"}]
    target = destination.target
    said = (target.request_target, target.host, target.proxy_authorization, destination.dial.connection_key)
    return (*said, *(getattr(destination, name) for name in names))


async def test_a_shared_destination_equals_one_made_separately(transport: Transport) -> None:
    urls = [origin + target for target in TARGETS for origin in ORIGINS]
    shared = [told(await asked(transport, url)) for url in urls]
    for url, said in zip(urls, shared, strict=True):
        alone = new()
        alone._contexts = transport._contexts  # equal TLS options share a context
        await alone.start()
        assert said == told(await asked(alone, url)), url
        await alone.close()


async def test_a_host_is_parsed_once(transport: Transport) -> None:
    first, second = [await asked(transport, f"http://a.example/{name}") for name in ("one", "two")]
    assert first.dial is second.dial
    assert (first.target.request_target, second.target.request_target) == ("/one", "/two")


async def test_different_destinations_share_nothing(transport: Transport) -> None:
    url = "https://a.example/one"
    proxy = Proxy("http://proxy.example:3128")
    found = [
        await asked(transport, url),
        await asked(transport, url, HttpLimits(idle_timeout_seconds=1.0)),
        await asked(transport, url, tls=TlsOptions(trust_all=True)),
        await asked(transport, "https://a.example:444/one"),
        await asked(transport, "https://user@a.example/one"),
        await asked(transport, url, proxy=proxy),
        await asked(transport, url, proxy=proxy),
    ]
    assert len({id(each.dial) for each in found}) == len(found)


async def test_an_invalid_url_is_refused_although_its_host_is_known(transport: Transport) -> None:
    await asked(transport, "http://a.example/hook")
    for url in ("http://a.example\\@b.example/", "http://a.example:x/", "http://a.example/\ud800", "ftp://a.example/"):
        with pytest.raises(ConfigurationError):
            await asked(transport, url)


def test_an_origin_is_found_only_in_simple_urls() -> None:
    assert origin_of("http://a.example?x") == "http://a.example"
    for url in (
        "HTTP://a.example/",
        "http:/a.example",
        "http://a.example\\x",
        "http://a b/",
        "http://ü.example/",
        "http:",
    ):
        assert origin_of(url) is None


@given(st.text("aZ0/_~-?=&.%#é ", max_size=12))
@example("//a?")
@example("?a=b")
def test_a_plain_target_equals_the_parsed_target(target: str) -> None:
    for text in ("http://a.example/" + target, "https://user@[::1]:8080/" + target):
        assert written_target(text) == _parsed_target(text)
