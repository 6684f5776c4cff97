"""Host names are looked up without threads, one lookup per name at a time, and never for a numeric address."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from pipeline.auth.token_request import PostForm
from pipeline.core.clock import SystemClock
from pipeline.core.model import PlainEvent
from pipeline.core.outcome import Delivered, Failed
from pipeline.core.subscription import HttpLimits, Proxy, Subscription
from pipeline.http import resolver as resolver_module
from pipeline.http.resolver import NoAnswerError, Resolver
from pipeline.http.webhook import Callback
from tests.support.calling import loopback_transport
from tests.support.name_server import NameServer, name_server
from tests.support.receiver import Receiver, raw

UNRESOLVABLE = 50
HEALTHY = 100
LIMITS = HttpLimits(connect_timeout_seconds=30.0, read_timeout_seconds=5.0)
CLOSING = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
ANY = socket.AF_UNSPEC


@asynccontextmanager
async def resolving(server: NameServer) -> AsyncIterator[Resolver]:
    resolver = Resolver([server.address])
    try:
        yield resolver
    finally:
        await resolver.close()


@asynccontextmanager
async def calling(server: NameServer) -> AsyncIterator[Callback]:
    async with loopback_transport(512, resolver=partial(Resolver, [server.address])) as transport:
        yield Callback(transport, SystemClock(), user_agent="t/1", on_header_left_out=lambda _id, _name: None)


def event(offset: int = 0) -> PlainEvent:
    return PlainEvent("events", 0, offset, b"s", b"body")


async def addresses(resolver: Resolver, name: str) -> list[str]:
    return sorted(found["host"] for found in await resolver.resolve(name, 80, ANY))


async def test_names_that_never_resolve_delay_no_other_name() -> None:
    async with name_server({"good.example": ["127.0.0.1"]}) as names, Receiver(CLOSING) as receiver:
        async with calling(names) as callback:
            bad = [Subscription(f"bad-{n}", 1, f"http://n{n}.example:1/", http=LIMITS) for n in range(UNRESOLVABLE)]
            hanging = [asyncio.ensure_future(callback(subscription, event(), 1)) for subscription in bad]
            await names.until_asked(2 * UNRESOLVABLE)
            urls = [receiver.url, receiver.url.replace("127.0.0.1", "good.example")]
            good = [Subscription(f"good-{n}", 1, urls[n % 2], http=LIMITS) for n in range(HEALTHY)]
            for offset in range(3):
                outcomes = await asyncio.gather(*(callback(each, event(offset), 1) for each in good))
                assert outcomes == [Delivered(200)] * HEALTHY
            assert not any(call.done() for call in hanging)
            for call in hanging:
                call.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)
        assert receiver.connections == 3 * HEALTHY


async def test_concurrent_callers_share_one_lookup() -> None:
    async with name_server() as names, resolving(names) as resolver:
        asking = [asyncio.ensure_future(resolver.resolve("slow.example", port, ANY)) for port in range(1, 21)]
        await names.until_asked(2)
        names.learn("slow.example", "127.0.0.1", "::1")
        found = await asyncio.gather(*asking)
        assert [{each["port"] for each in answer} for answer in found] == [{port} for port in range(1, 21)]
        assert all(sorted(each["host"] for each in answer) == ["127.0.0.1", "::1"] for answer in found)
        assert names.asked == ["slow.example"] * 2


async def test_a_lookup_continues_when_its_caller_is_cancelled() -> None:
    async with name_server() as names, resolving(names) as resolver:
        first = asyncio.ensure_future(resolver.resolve("slow.example", 80, ANY))
        await names.until_asked(2)
        first.cancel()
        await asyncio.wait([first])
        assert len(resolver._lookups) == 1
        second = asyncio.ensure_future(addresses(resolver, "slow.example"))
        await asyncio.sleep(0)
        names.learn("slow.example", "127.0.0.1")
        assert await second == ["127.0.0.1"]
        assert names.asked == ["slow.example"] * 2
        assert not resolver._lookups


async def test_a_lookup_has_a_separate_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver_module, "LOOKUP_SECONDS", 0.05)
    sentence = "no answer from the name servers within 0.05 s"
    async with name_server() as names:
        async with resolving(names) as resolver:
            with pytest.raises(NoAnswerError, match=sentence):
                await resolver.resolve("slow.example", 80, ANY)
        async with calling(names) as callback:
            outcome = await callback(Subscription("s", 1, "http://slow.example:1/", http=LIMITS), event(), 1)
    where = "slow.example:1"
    assert outcome == Failed(
        f"the host of {where} can't be resolved: {sentence}", may_have_arrived=False, timed_out=True
    )


async def test_closing_ends_the_attempts_that_wait_for_a_name() -> None:
    """The attempts end with an outcome. They are not cancelled, because their callers did not cancel them."""
    async with name_server() as names:
        async with calling(names) as callback:
            subscriptions = [Subscription(f"s{n}", 1, "http://slow.example:1/", http=LIMITS) for n in range(3)]
            calls = [asyncio.ensure_future(callback(each, event(), 1)) for each in subscriptions]
            await names.until_asked(2)
        outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
    assert outcomes == [Failed("no connection to slow.example:1: ClientConnectionError", may_have_arrived=False)] * 3


async def test_a_wait_for_a_name_lookup_can_be_cancelled() -> None:
    async with name_server() as names, calling(names) as callback:
        call = asyncio.ensure_future(callback(Subscription("s", 1, "http://slow.example:1/", http=LIMITS), event(), 1))
        await names.until_asked(2)
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()


async def test_a_name_that_does_not_exist_is_reported() -> None:
    async with name_server({"no.example": []}) as names, calling(names) as callback:
        outcome = await callback(Subscription("s", 1, "http://no.example:1/", http=LIMITS), event(), 1)
        assert outcome == Failed(
            "the host of no.example:1 can't be resolved: Domain name not found", may_have_arrived=False
        )


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", "localhost.", "a.localhost", "a.localhost."])
async def test_localhost_is_loopback_without_a_name_server(name: str) -> None:
    async with name_server({"localhost": ["192.0.2.1"], "a.localhost": ["192.0.2.1"]}) as names:
        async with resolving(names) as resolver:
            assert set(await addresses(resolver, name)) <= {"127.0.0.1", "::1"}
        assert names.asked == []


def hosts_file() -> dict[str, str]:
    """The names in this machine's hosts file, without localhost."""
    lines = [line.partition("#")[0].split() for line in Path("/etc/hosts").read_text(encoding="utf-8").splitlines()]
    return {name: line[0] for line in lines for name in line[1:] if "localhost" not in name}


async def test_the_hosts_file_is_read_first() -> None:
    known = hosts_file()
    if not known:
        pytest.skip("the hosts file of this machine has no name but localhost")
    async with name_server(dict.fromkeys(known, ("192.0.2.1",))) as names, resolving(names) as resolver:
        for name, address in known.items():
            assert address in await addresses(resolver, name)
        assert names.asked == []


async def test_a_numeric_address_is_not_looked_up() -> None:
    async with name_server() as names:
        async with Receiver() as receiver, calling(names) as callback:
            assert await callback(Subscription("s", 1, receiver.url, http=LIMITS), event(), 1) == Delivered(200)
            for host in ("2130706433", "127.1"):
                outcome = await callback(Subscription(host, 1, f"http://{host}:1/", http=LIMITS), event(), 1)
                assert isinstance(outcome, Failed)
        async with resolving(names) as resolver:
            assert await addresses(resolver, "127.0.0.1") == ["127.0.0.1"]
            assert await addresses(resolver, "::1") == ["::1"]
        assert names.asked == []


async def test_a_name_with_an_internal_address_is_refused() -> None:
    async with name_server({"inside.example": ["10.0.0.7"]}) as names, calling(names) as callback:
        outcome = await callback(Subscription("s", 1, "http://inside.example:1/", http=LIMITS), event(), 1)
        assert isinstance(outcome, Failed)
        assert "10.0.0.7 is in the private network" in outcome.error


@pytest.mark.parametrize("kind", ["http", "socks5"])
async def test_the_name_of_a_proxy_is_looked_up_without_threads(kind: str) -> None:
    async with name_server({"none.example": []}) as names, calling(names) as callback:
        there, gone = (
            Subscription("s", 1, "http://r.example:1/", proxy=Proxy(f"{kind}://{host}.example:1"), http=LIMITS)
            for host in ("slow", "none")
        )
        call = asyncio.ensure_future(callback(there, event(), 1))
        await names.until_asked(2)
        call.cancel()
        await asyncio.wait([call])
        outcome = await callback(replace(gone, revision=2), event(), 1)
        assert isinstance(outcome, Failed)
        assert "can't be resolved: Domain name not found" in outcome.error
        assert set(names.asked) == {"slow.example", "none.example"}


async def test_token_endpoints_are_looked_up_without_threads() -> None:
    async with name_server({"id.example": ["127.0.0.1"]}) as names, Receiver() as receiver:
        async with loopback_transport(4, resolver=partial(Resolver, [names.address])) as transport:
            url = receiver.url.replace("127.0.0.1", "id.example")
            subscription = Subscription("s", 1, "http://r.example:1/", http=LIMITS)
            answer = await PostForm(transport, "t/1")(subscription, url, "a=b", {})
            assert not isinstance(answer, Failed)
        assert set(names.asked) == {"id.example"}
