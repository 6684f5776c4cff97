"""Signed admin tokens, with real keys and a real key server (web/admin_tokens.py, key_ring, key_source, jwks)."""

import asyncio
import base64
import hmac
import json
import socket
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import ConfigurationError
from pipeline.http.resolver import Resolver
from pipeline.web import Access, key_ring, key_source, web_options
from pipeline.web.admin_tokens import AdminTokens, TokenProblem, admin_tokens
from pipeline.web.jwks import LARGEST_BYTES, KeySet, parse_key_set
from pipeline.web.key_ring import MAX_AGE_SECONDS, PAUSE_SECONDS, KeyRing
from pipeline.web.key_source import reader
from tests.support.issuer import KeyServer, SigningKey, key_set, publishing
from tests.support.name_server import name_server
from tests.support.tokens import ManualClock

APP = "orders"
KEY = SigningKey.make("k1")
OTHER = SigningKey.make("k2")
RSA = SigningKey.make("rsa", "RS256")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def server() -> AsyncIterator[KeyServer]:
    async with publishing(key_set(KEY)) as found:
        yield found


@pytest.fixture
def tokens(server: KeyServer, clock: ManualClock) -> AdminTokens:
    """A verifier with the keys of the server."""
    return admin_tokens(server.url, APP, monotonic=clock.now)


def judged_by(*keys: SigningKey | dict[str, Any]) -> AdminTokens:
    """A verifier with only these keys."""
    found = parse_key_set(key_set(*keys))

    async def read() -> KeySet:
        return found

    return AdminTokens(KeyRing(read, found), APP)


def part(value: object) -> str:
    """A part of a token (RFC 7515 section 7.1)."""
    return encoded(json.dumps(value).encode())


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


async def reason(tokens: AdminTokens, token: str) -> str | None:
    found = await tokens.principal_of(token)
    return found.reason if isinstance(found, TokenProblem) else None


# -- tokens --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS256", "ES256", "ES384", "ES512", "EdDSA"])
async def test_a_token_signed_by_a_published_key_is_accepted(algorithm: str) -> None:
    key = SigningKey.make("a", algorithm)

    assert await reason(judged_by(KEY, key), key.token()) is None


async def test_a_key_without_an_algorithm_has_the_default() -> None:
    rsa_pss = SigningKey("rsa", "PS256", RSA.private)

    assert await reason(judged_by(KEY.jwk(alg=None)), KEY.token()) is None
    assert await reason(judged_by(RSA.jwk(alg=None)), RSA.token()) is None
    assert await reason(judged_by(RSA.jwk(alg=None)), rsa_pss.token()) is not None


@pytest.mark.parametrize("audience", [APP, ["somebody", APP]])
async def test_a_token_that_names_this_application_is_accepted(audience: object) -> None:
    assert await reason(judged_by(KEY), KEY.token(aud=audience)) is None


async def test_the_clocks_of_issuer_and_worker_may_be_seconds_apart() -> None:
    now = time.time()

    assert await reason(judged_by(KEY), KEY.token(exp=now - 3, iat=now + 3, nbf=now + 3)) is None
    assert await reason(judged_by(KEY), KEY.token(exp=now - 13)) == "has expired (exp)"


@pytest.mark.parametrize(
    ("claims", "sentence"),
    [
        ({"exp": None}, "has no expiry (exp)"),
        ({"exp": 1_000_000_000}, "has expired (exp)"),
        ({"nbf": 9_000_000_000}, "is not valid yet (nbf, iat)"),
        ({"iat": 9_000_000_000}, "is not valid yet (nbf, iat)"),
        ({"aud": "invoices"}, "is for another audience (aud); allowed: orders, or no aud"),
        ({"aud": []}, "is for another audience (aud); allowed: orders, or no aud"),
        ({"aud": {"orders": 1}}, "is for another audience (aud); allowed: orders, or no aud"),
        ({"exp": "soon"}, "is malformed"),
        ({"exp": float("inf")}, "is malformed"),
    ],
)
async def test_a_token_with_the_wrong_claims_is_refused(claims: dict[str, Any], sentence: str) -> None:
    assert await reason(judged_by(KEY), KEY.token(**claims)) == sentence


async def test_a_token_of_another_key_is_refused() -> None:
    forged = SigningKey("k1", "ES256", OTHER.private)

    assert await reason(judged_by(KEY), forged.token()) == "has a wrong signature"
    assert await reason(judged_by(KEY), OTHER.token()) == "is signed by a key that is not in the JWK set"


async def test_a_token_that_was_changed_is_refused() -> None:
    head, _, signature = KEY.token().split(".")
    changed = f"{head}.{part({'exp': time.time() + 9999})}.{signature}"

    assert await reason(judged_by(KEY), changed) == "has a wrong signature"


async def test_a_token_signed_without_the_private_key_is_refused() -> None:
    """The token has `alg: none`, or uses the public key, which anyone has, as the shared key of HS256."""
    public = RSA.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for algorithm in ("none", "HS256"):
        signed = f"{part({'alg': algorithm, 'kid': 'rsa'})}.{part({'exp': time.time() + 60})}"
        signature = b"" if algorithm == "none" else hmac.digest(public, signed.encode(), "sha256")

        refused = await reason(judged_by(RSA), f"{signed}.{encoded(signature)}")

        assert refused is not None
        assert refused.startswith("must be signed by one of ES256, ES384, ES512, EdDSA, ")


async def test_a_token_without_a_key_id_may_fit_only_one_key() -> None:
    nameless = SigningKey(None, "ES256", KEY.private)

    assert await reason(judged_by(KEY, RSA), nameless.token()) is None
    assert await reason(judged_by(KEY, OTHER), nameless.token()) == "is signed by a key that is not in the JWK set"


@pytest.mark.parametrize("token", ["opaque", "a.b.c", "..", "\udcff.\udcff.\udcff", "é.é.é"])
async def test_an_invalid_token_is_refused(token: str) -> None:
    assert await reason(judged_by(KEY), token) == "is not a JSON Web Token"


@given(
    header=st.dictionaries(
        st.sampled_from(["alg", "kid", "crit", "b64", "typ", "jku"]),
        st.none() | st.text() | st.lists(st.text()) | st.just("ES256"),
    )
)
def test_any_header_of_a_token_gets_an_answer(header: dict[str, Any]) -> None:
    _, *rest = KEY.token().split(".")

    assert asyncio.run(reason(judged_by(KEY), ".".join([part(header), *rest]))) is not None


# -- sets ----------------------------------------------------------------------------------------------------------


def test_unusable_keys_are_skipped() -> None:
    found = parse_key_set(
        key_set(
            KEY,
            OTHER.jwk(use="enc"),
            {**OTHER.jwk(), "key_ops": ["encrypt"]},
            SigningKey.make("small", "RS256", 1024).jwk(),
            RSA.jwk(alg="RSA-OAEP"),
            {"kty": "oct", "k": "aHVudGVyMg", "kid": "shared", "alg": "HS256"},
            {"kty": "oct", "k": "aHVudGVyMg", "kid": "shared", "alg": "ES256"},
            {"kty": "EC", "crv": "P-256", "x": "?", "y": "?"},
            {"kty": "ML-KEM"},
            OTHER.jwk(kid=7),
        )
    )

    assert [key.key_id for key in found.keys] == ["k1"]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is not a JWK set: it is not JSON"),
        (b"\xff", "is not a JWK set: it is not JSON"),
        (b"[" * 100_000, "is not a JWK set: it is not JSON"),
        (b"[]", "is not a JWK set: it has no list of keys"),
        (b'{"keys": {}}', "is not a JWK set: it has no list of keys"),
        (b'{"keys": []}', "contains no usable key; allowed: public keys for ES256, "),
        (key_set({"kty": "EC", "d": "aHVudGVyMg"}), "contains a private key; allowed: public keys"),
        (b" " * (LARGEST_BYTES + 1), "is larger than 262144 bytes"),
    ],
)
def test_an_invalid_jwk_set_is_reported_without_its_keys(data: bytes, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_key_set(data)

    assert str(caught.value).startswith(sentence)
    assert "aHVudGVyMg" not in str(caught.value)


# -- reading -------------------------------------------------------------------------------------------------------


async def test_concurrent_tokens_share_one_request_for_keys(tokens: AdminTokens, server: KeyServer) -> None:
    server.open.clear()
    judging = [asyncio.create_task(reason(tokens, KEY.token())) for _ in range(20)]
    while not server.asked:  # noqa: ASYNC110 - there is no event for a request
        await asyncio.sleep(0.01)
    server.open.set()

    assert await asyncio.gather(*judging) == [None] * 20
    assert server.asked == 1


async def test_an_unknown_key_is_requested_once_in_30_seconds(
    tokens: AdminTokens, server: KeyServer, clock: ManualClock
) -> None:
    assert await reason(tokens, KEY.token()) is None
    server.body = key_set(KEY, OTHER)
    clock.time += PAUSE_SECONDS - 1
    assert await reason(tokens, OTHER.token()) == "is signed by a key that is not in the JWK set"
    assert server.asked == 1

    clock.time += 1

    assert await reason(tokens, OTHER.token()) is None
    assert await reason(tokens, KEY.token("k3")) == "is signed by a key that is not in the JWK set"
    assert server.asked == 2


async def test_the_age_of_keys_counts_from_the_request(clock: ManualClock) -> None:
    reads: list[float] = []

    async def slow() -> KeySet:
        reads.append(clock.time)
        clock.time += MAX_AGE_SECONDS
        return parse_key_set(key_set(KEY))

    ring = KeyRing(slow, monotonic=clock.now)
    for _ in range(2):
        assert await ring.find("k1", "ES256") is not None
    assert len(reads) == 2


async def test_the_age_of_keys_ignores_the_system_clock(server: KeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_ring, "PAUSE_SECONDS", 0.0)
    tokens = admin_tokens(server.url, APP)
    assert await reason(tokens, KEY.token()) is None
    server.body = key_set(KEY, OTHER)
    token = OTHER.token()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert await reason(tokens, token) is None


async def test_a_withdrawn_key_is_refused_after_ten_minutes(
    tokens: AdminTokens, server: KeyServer, clock: ManualClock
) -> None:
    assert await reason(tokens, KEY.token()) is None
    server.body = key_set(OTHER)

    clock.time += MAX_AGE_SECONDS

    assert await reason(tokens, KEY.token()) == "is signed by a key that is not in the JWK set"


async def test_while_no_keys_can_be_read_the_old_ones_stay_valid(
    tokens: AdminTokens, server: KeyServer, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    assert await reason(tokens, KEY.token()) is None
    server.status = 500
    clock.time += MAX_AGE_SECONDS

    assert await reason(tokens, KEY.token()) is None
    problem = await tokens.principal_of(OTHER.token())

    assert isinstance(problem, TokenProblem)
    assert problem.is_temporary
    assert caplog.messages == [f"WEBHOOKS_ADMIN_JWKS: {server.url} answers 500; the previous keys remain valid"]

    server.status = 200
    clock.time += PAUSE_SECONDS
    assert await reason(tokens, OTHER.token()) == "is signed by a key that is not in the JWK set"


async def test_after_a_cancelled_request_the_next_one_reads_the_keys(tokens: AdminTokens, server: KeyServer) -> None:
    server.open.clear()
    waiting = asyncio.create_task(tokens.principal_of(KEY.token()))
    while not server.asked:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait([waiting])
    server.open.set()

    assert await reason(tokens, KEY.token()) is None


async def sentence_of(url: str, timeout_seconds: float = 5.0) -> str:
    with pytest.raises(ConfigurationError) as caught:
        await reader(url, timeout_seconds)()
    return str(caught.value)


async def test_an_unusable_url_is_reported_in_a_sentence(server: KeyServer) -> None:
    place = f"WEBHOOKS_ADMIN_JWKS: {server.url}"

    server.body = b"<html>"
    assert await sentence_of(f"{server.url}?key=hunter2") == f"{place} is not a JWK set: it is not JSON"
    server.body = b" " * (LARGEST_BYTES + 1)
    assert await sentence_of(server.url) == f"{place} is larger than {LARGEST_BYTES} bytes"
    server.body, server.status, server.headers = key_set(KEY), 302, {"Location": server.url}
    assert await sentence_of(server.url) == f"{place} answers 302"
    server.open.clear()
    assert await sentence_of(server.url, 0.2) == f"{place} can't be read: no answer in time"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        assert await sentence_of(url) == f"WEBHOOKS_ADMIN_JWKS: {url} can't be read: Connection refused"


async def test_a_lookup_without_an_answer_has_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    async with name_server() as names:
        monkeypatch.setattr(key_source, "Resolver", partial(Resolver, [names.address]))
        sentence = await sentence_of("https://id.example/jwks?key=hunter2", 0.2)

        assert sentence == "WEBHOOKS_ADMIN_JWKS: https://id.example/jwks can't be read: no answer in time"
        assert set(names.asked) == {"id.example"}


async def test_a_slow_answer_has_a_time_limit() -> None:
    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.02)

    server = TestServer(web.Application())
    server.app.router.add_get("/jwks", trickle)
    async with server:
        url = str(server.make_url("/jwks"))

        assert await sentence_of(url, 0.3) == f"WEBHOOKS_ADMIN_JWKS: {url} can't be read: no answer in time"


def test_a_file_of_keys_is_read_at_the_start(tmp_path: Path, clock: ManualClock) -> None:
    file = tmp_path / "jwks.json"
    with pytest.raises(ConfigurationError, match=rf"^WEBHOOKS_ADMIN_JWKS: {file} can't be read: No such file"):
        admin_tokens(str(file), APP, monotonic=clock.now)
    file.write_bytes(b"{}")
    with pytest.raises(
        ConfigurationError, match=rf"^WEBHOOKS_ADMIN_JWKS: {file} is not a JWK set: it has no list of keys"
    ):
        admin_tokens(str(file), APP, monotonic=clock.now)
    file.write_bytes(key_set(KEY))

    assert asyncio.run(reason(admin_tokens(str(file), APP, monotonic=clock.now), KEY.token())) is None


async def test_a_file_of_keys_that_has_changed_is_read_again(tmp_path: Path, clock: ManualClock) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(key_set(KEY))
    tokens = await asyncio.to_thread(admin_tokens, str(file), APP, monotonic=clock.now)
    file.write_bytes(key_set(OTHER))

    clock.time += PAUSE_SECONDS

    assert await reason(tokens, OTHER.token()) is None


# -- the web view --------------------------------------------------------------------------------------------------

Client = TestClient[web.Request, web.Application]


@pytest.fixture
def admin_token() -> str | None:
    return None


@pytest.fixture
async def client(tokens: AdminTokens, admin_token: str | None) -> AsyncIterator[Client]:
    async def welcome(_: web.Request) -> web.Response:
        return web.Response(text="welcome")

    app = web.Application(**web_options(Access(admin_token, tokens)))
    app.router.add_route("*", "/", welcome)
    async with TestClient(TestServer(app)) as found:
        yield found


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_valid_token_may_read_and_change(client: Client) -> None:
    for method in ("GET", "POST"):
        async with client.request(method, "/", headers=bearer(KEY.token())) as response:
            assert (response.status, await response.text()) == (200, "welcome")


async def test_a_wrong_token_is_answered_with_401_and_a_reason(client: Client) -> None:
    async with client.get("/", headers=bearer(KEY.token(exp=1))) as response:
        assert response.status == 401
        assert response.content_type == "application/problem+json"
        assert (await response.json())["detail"] == "The token has expired (exp)."
        assert response.headers.getall("WWW-Authenticate") == ['Bearer realm="webhooks", error="invalid_token"']


async def test_a_signed_token_as_password_gives_no_access(client: Client) -> None:
    password = base64.b64encode(f"me:{KEY.token()}".encode()).decode()
    for headers in ({}, {"Authorization": f"Basic {password}"}, bearer("")):
        async with client.get("/", headers=headers) as response:
            assert response.status == 401
            assert response.headers.getall("WWW-Authenticate") == ['Bearer realm="webhooks"']


@pytest.mark.parametrize("admin_token", ["the-admin-token"])
async def test_the_admin_token_and_signed_tokens_are_both_accepted(client: Client) -> None:
    for token, status in (("the-admin-token", 200), (KEY.token(), 200), ("another", 401)):
        async with client.get("/", headers=bearer(token)) as response:
            assert response.status == status


async def test_a_token_gets_a_503_while_no_key_can_be_read(client: Client, server: KeyServer) -> None:
    server.status = 404
    async with client.get("/", headers=bearer(KEY.token())) as response:
        assert (response.status, response.content_type) == (503, "application/problem+json")
        assert response.headers["Retry-After"] == "30"
        detail = (await response.json())["detail"]
    assert detail == "The token can't be verified: the JWK set can't be read; see the worker's log."
