from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_network

import pytest

from pipeline.auth.token_request import PostForm
from pipeline.core.outcome import Failed
from pipeline.core.subscription import HttpLimits, Proxy, Subscription
from pipeline.http.proxy import SystemProxies
from pipeline.http.response import MAX_BODY_BYTES, Answer
from pipeline.http.ssrf_guard import Guard
from pipeline.http.transport import Transport
from tests.support.forward_proxy import ForwardProxy
from tests.support.receiver import Receiver, answer, silent

SUBSCRIPTION = Subscription("s", 1, "https://never.invalid/", http=HttpLimits(2, 2))


@pytest.fixture
async def post_form() -> AsyncIterator[PostForm]:
    transport = Transport(
        guard=Guard([ip_network("127.0.0.1/32")]),
        max_in_flight=2,
        idle_timeout_seconds=5,
        system_proxies=SystemProxies(),
    )
    await transport.start()
    yield PostForm(transport, "webhooks/1")
    await transport.close()


async def test_a_form_is_posted_and_the_whole_answer_is_kept(post_form: PostForm) -> None:
    body = b"t" * MAX_BODY_BYTES
    async with Receiver(answer(200, body, [("X-A", "b")])) as endpoint:
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": "Basic a"}
        got = await post_form(SUBSCRIPTION, f"{endpoint.url}?q=1", "grant_type=client_credentials", headers)
    assert isinstance(got, Answer)
    assert (got.status, got.body, got.headers.get("x-a")) == (200, body, "b")
    [request] = endpoint.requests
    assert request.line == "POST /hook?q=1 HTTP/1.1"
    assert request.body == b"grant_type=client_credentials"
    assert request.header("content-type") == "application/x-www-form-urlencoded"
    assert request.header("authorization") == "Basic a"
    assert request.header("user-agent") == "webhooks/1"


@pytest.mark.parametrize("status", [302, 400, 503])
async def test_every_status_is_an_answer_and_no_redirect_is_followed(post_form: PostForm, status: int) -> None:
    async with Receiver(answer(status, b"why", [("Location", "/other")])) as endpoint:
        got = await post_form(SUBSCRIPTION, endpoint.url, "", {})
    assert isinstance(got, Answer)
    assert (got.status, got.body) == (status, b"why")
    assert len(endpoint.requests) == 1


async def test_a_token_request_uses_the_proxy_of_the_subscription(post_form: PostForm) -> None:
    async with Receiver(answer(200)) as endpoint, ForwardProxy("Basic dXNlcjpwYXNz") as proxy:
        through = replace(SUBSCRIPTION, proxy=Proxy(proxy.url, "user", "pass"))
        got = await post_form(through, endpoint.url, "a=b", {})
        assert isinstance(got, Answer)
        assert [request.line for request in proxy.requests] == [f"POST {endpoint.url} HTTP/1.1"]
        assert endpoint.requests[0].body == b"a=b"


async def test_the_guard_checks_token_endpoints_too(post_form: PostForm) -> None:
    got = await post_form(SUBSCRIPTION, "http://10.0.0.1:1/token", "", {})
    assert isinstance(got, Failed)
    assert "the private network" in got.error


async def test_without_an_answer_the_request_times_out(post_form: PostForm) -> None:
    async with Receiver(silent) as endpoint:
        got = await post_form(replace(SUBSCRIPTION, http=HttpLimits(1, 0.05)), endpoint.url, "client_secret=s3cret", {})
    assert isinstance(got, Failed)
    assert got.timed_out
    assert "s3cret" not in got.error


@pytest.mark.parametrize(
    "headers", [{"Host": "x"}, {"content-length": "1"}, {"A": "b\r\nC: d"}, {"a b": "c"}, {"A": "ü"}]
)
async def test_headers_that_can_t_be_sent_are_refused_by_name(post_form: PostForm, headers: dict[str, str]) -> None:
    async with Receiver() as endpoint:
        got = await post_form(SUBSCRIPTION, endpoint.url, "", headers)
        assert got == Failed(
            f"the header {next(iter(headers))!r} can't be sent to a token endpoint", may_have_arrived=False
        )
        assert endpoint.connections == 0
