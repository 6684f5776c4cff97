"""Access to the web view: scopes, tenants, the metrics token, browsers, guessed tokens (web/access.py)."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
from aiohttp import encode_basic_auth, web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from pipeline.web.access import Access
from pipeline.web.admin_tokens import AdminTokens, TokenProblem
from pipeline.web.failure_limit import FREE_FAILURES, LONGEST_PAUSE_SECONDS, MOST_ADDRESSES, MOST_TOKENS, FailureLimit
from pipeline.web.jwks import KeySet, parse_key_set
from pipeline.web.key_ring import KeyRing
from pipeline.web.principal import SCOPES, Principal
from tests.support.issuer import SigningKey, key_set

TOKEN = "the-admin-token"
SCRAPER = "the-metrics-token"
KEY = SigningKey.make("k1")
OWN = {"X-Requested-With": "webhooks"}
PASSWORD = {"Authorization": encode_basic_auth("me", TOKEN)}

Client = TestClient[web.Request, web.Application]


async def no_keys() -> KeySet:
    raise AssertionError("the keys are known")


def tokens(tenant_claim: str | None = None) -> AdminTokens:
    return AdminTokens(KeyRing(no_keys, parse_key_set(key_set(KEY))), "orders", tenant_claim)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Pages that need different scopes; `/tenant` shows all subscriptions."""
    access = Access(TOKEN, tokens("tenant"), SCRAPER)

    def page(*scopes: Any, is_for_all: bool = False) -> Any:
        async def show(request: web.Request) -> web.Response:
            refusal = await access.refusal(request, *scopes, is_for_all=is_for_all)
            return web.Response() if refusal is None else refusal

        return show

    app = web.Application()
    app.router.add_route("*", "/read", page("read"))
    app.router.add_route("*", "/write", page("write"))
    app.router.add_route("*", "/metrics", page("metrics", "read"))
    app.router.add_route("*", "/all", page("read", is_for_all=True))
    async with TestClient(TestServer(app)) as found:
        yield found


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


async def status(client: Client, path: str, headers: dict[str, str], method: str = "GET") -> int:
    async with client.request(method, path, headers=headers) as response:
        return response.status


def signed(**claims: Any) -> dict[str, str]:
    """A signed token, made when the test runs, because such tokens expire soon."""
    return bearer(KEY.token(**claims))


@pytest.mark.parametrize(
    ("made", "allowed"),
    [
        (lambda: bearer(TOKEN), {"/read", "/write", "/metrics", "/all"}),
        (lambda: PASSWORD, {"/read", "/write", "/metrics", "/all"}),
        (lambda: bearer(SCRAPER), {"/metrics"}),
        (lambda: {"Authorization": encode_basic_auth("prometheus", SCRAPER)}, {"/metrics"}),
        (partial(signed, tenant={}, scope="read"), {"/read", "/metrics", "/all"}),
        (partial(signed, tenant={}, scope="write other"), {"/write"}),
        (partial(signed, tenant={}, scope="metrics"), {"/metrics"}),
        (partial(signed, tenant={}, scp=["read", "write"]), {"/read", "/write", "/metrics", "/all"}),
        (partial(signed, tenant={}, scope="other"), set()),
        (partial(signed, tenant={}), {"/read", "/write", "/metrics", "/all"}),
        (partial(signed, tenant={"customer": "a"}), {"/read", "/write", "/metrics"}),
    ],
)
async def test_a_token_gives_access_according_to_its_scopes(
    client: Client, made: Callable[[], dict[str, str]], allowed: set[str]
) -> None:
    headers = made()
    found = {path: await status(client, path, headers) for path in ("/read", "/write", "/metrics", "/all")}
    assert found == {path: 200 if path in allowed else 403 for path in found}


async def test_a_missing_scope_is_named(client: Client) -> None:
    async with client.get("/write", headers=bearer(KEY.token(tenant={}, scope="read"))) as response:
        assert (await response.json())["detail"] == "The token needs the scope write; it has: read."
        assert 'error="insufficient_scope", scope="write"' in response.headers["WWW-Authenticate"]


@pytest.mark.parametrize("claims", [{}, {"tenant": None}, {"tenant": "a"}, {"tenant": {"a": 1}}, {"tenant": []}])
async def test_a_token_without_a_usable_tenant_opens_nothing(claims: dict[str, Any]) -> None:
    found = await tokens("tenant").principal_of(KEY.token(**claims))
    assert isinstance(found, TokenProblem)
    assert 'has no usable claim "tenant"' in found.reason


@given(scope=st.none() | st.text() | st.integers() | st.lists(st.text() | st.none()))
async def test_no_scopes_grant_more_than_they_name(scope: Any) -> None:
    found = await tokens().principal_of(KEY.token(scope=scope))
    if isinstance(found, Principal):
        words = scope.split() if isinstance(scope, str) else scope
        assert found.scopes == (SCOPES if scope is None else SCOPES & set(words))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 403),
        (OWN, 200),
        ({"X-Requested-With": "XMLHttpRequest"}, 403),
        ({**OWN, "Sec-Fetch-Site": "same-origin"}, 200),
        ({**OWN, "Sec-Fetch-Site": "cross-site"}, 403),
        ({**OWN, "Sec-Fetch-Site": "same-site"}, 403),
        ({**OWN, "Origin": "https://evil.example"}, 403),
        ({**OWN, "Origin": "null"}, 403),
    ],
)
async def test_a_password_allows_changes_only_from_the_worker_s_pages(
    client: Client, headers: dict[str, str], expected: int
) -> None:
    assert await status(client, "/write", {**PASSWORD, **headers}, "POST") == expected
    assert await status(client, "/write", {**bearer(TOKEN), **headers}, "POST") == 200


async def test_a_change_with_the_worker_s_own_origin_is_allowed(client: Client) -> None:
    own = {**PASSWORD, **OWN, "Origin": str(client.make_url("/")).rstrip("/")}
    assert await status(client, "/write", own, "POST") == 200


# -- guessed tokens ------------------------------------------------------------------------------------------------


class Seconds:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_wrong_tokens_are_limited_and_known_tokens_are_not(client: Client) -> None:
    assert await status(client, "/read", bearer(TOKEN)) == 200
    found = [await status(client, "/read", bearer(f"guess-{number}")) for number in range(FREE_FAILURES + 3)]
    assert found == [401] * FREE_FAILURES + [429] * 3
    assert await status(client, "/read", bearer(SCRAPER)) == 429, "a right token that was not accepted before"
    assert await status(client, "/read", bearer(TOKEN)) == 200
    assert await status(client, "/read", {}) == 401, "a request without a token is not a guess"


def test_each_failure_doubles_the_pause_up_to_a_minute() -> None:
    seconds = Seconds()
    limit = FailureLimit(seconds)
    pauses = []
    for _ in range(FREE_FAILURES + 9):
        limit.failed("192.0.2.1")
        pauses.append(limit.pause("192.0.2.1", "x"))
        seconds.now += pauses[-1]
    assert pauses == [0] * (FREE_FAILURES - 1) + [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert limit.pause("192.0.2.2", "x") == 0
    limit.failed("192.0.2.1")
    assert 0 < limit.pause("192.0.2.1", "x") <= LONGEST_PAUSE_SECONDS
    seconds.now += 601
    limit.failed("192.0.2.1")
    assert limit.pause("192.0.2.1", "x") == 0, "failures are forgotten"


def test_addresses_of_one_ipv6_network_count_as_one() -> None:
    limit = FailureLimit(Seconds())
    for number in range(FREE_FAILURES):
        limit.failed(f"2001:db8::{number}")
    assert limit.pause("2001:db8::ffff", "x") > 0
    assert limit.pause("2001:db8:0:1::1", "x") == 0


def test_an_ipv4_address_counts_as_one_in_both_notations() -> None:
    limit = FailureLimit(Seconds())
    for _ in range(FREE_FAILURES):
        limit.failed("::ffff:192.0.2.1")
    assert limit.pause("192.0.2.1", "x") > 0
    assert limit.pause("::ffff:192.0.2.2", "x") == 0


def test_a_right_token_in_use_is_not_forgotten() -> None:
    limit = FailureLimit(Seconds())
    for number in range(MOST_TOKENS + 1):
        if number in {0, MOST_TOKENS // 2}:
            limit.succeeded("in use")
        limit.succeeded(f"token {number}")
    for _ in range(FREE_FAILURES):
        limit.failed("192.0.2.1")
    assert limit.pause("192.0.2.1", "in use") == 0
    assert limit.pause("192.0.2.1", "token 0") > 0


def test_the_table_of_addresses_is_bounded() -> None:
    limit = FailureLimit(Seconds())
    for number in range(MOST_ADDRESSES + 10):
        limit.failed(f"address-{number}")
    assert len(limit._failures) == MOST_ADDRESSES


def test_a_request_without_an_address_is_limited_too() -> None:
    limit = FailureLimit(Seconds())
    for _ in range(FREE_FAILURES):
        limit.failed(make_mocked_request("GET", "/").remote)
    assert limit.pause(None, "x") > 0
