"""The client credentials grant, against a real HTTP server on loopback."""

import base64
import json
import math
import tracemalloc
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, quote, unquote_plus

import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer
from hypothesis import given
from hypothesis import strategies as st
from jwt.types import Options

from pipeline.auth.access_token import AccessToken
from pipeline.auth.assertion import client_assertion
from pipeline.auth.token_endpoint import ClientCredentials, read_answer, token_request
from pipeline.auth.token_request import PostForm
from pipeline.core.outcome import TokenRefused, TokenUnavailable
from pipeline.core.subscription import JwtProfileAuth, OAuth2Auth
from tests.support.calling import loopback_transport
from tests.support.tokens import ManualClock, subscription

SECRET = "s3cr3t-Ωπ&=+% :"
AUTH = OAuth2Auth("https://auth.example/token", "a:client", SECRET)
NOW = 1_000.0
HMAC_KEY = b"a key of HMAC that is long enough"
SECRETS = token_request(AUTH, NOW).secrets


@dataclass
class Endpoint:
    """A token endpoint with scripted answers that stores its requests. An answer takes *seconds* of the clock."""

    clock: ManualClock
    seconds: float = 0.0
    status: int = 200
    body: object = field(default_factory=lambda: {"access_token": "T1", "token_type": "Bearer", "expires_in": 3600})
    location: str | None = None
    retry_after: str | None = None
    forms: list[dict[str, list[str]]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        assert request.method == "POST"
        assert request.content_type == "application/x-www-form-urlencoded"
        self.clock.time += self.seconds
        self.headers.append(request.headers)
        self.forms.append(parse_qs(await request.text(), keep_blank_values=True, strict_parsing=True))
        content = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        more = {"Location": self.location, "Retry-After": self.retry_after}
        headers = {"Content-Type": "application/json"} | {name: value for name, value in more.items() if value}
        return web.Response(status=self.status, body=content, headers=headers)


@dataclass
class Bench:
    endpoint: Endpoint
    url: str
    server: BaseTestServer
    fetch: ClientCredentials

    async def ask(self, **changes: object) -> AccessToken | TokenRefused | TokenUnavailable:
        auth = OAuth2Auth(**{"endpoint": self.url, "client_id": "a:client", "client_secret": SECRET, **changes})  # type: ignore[arg-type] # the test names the fields
        return await self.fetch(subscription("s", auth), auth)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    clock = ManualClock(NOW)
    endpoint = Endpoint(clock)
    app = web.Application()
    app.router.add_route("*", "/token", endpoint.handle)
    async with loopback_transport(4) as transport, TestServer(app) as server:
        fetch = ClientCredentials(PostForm(transport, "tests"), clock)
        yield Bench(endpoint, str(server.make_url("/token")), server, fetch)


# --------------------------------------------------------------- the request


async def test_the_secret_is_posted_in_the_form(bench: Bench) -> None:
    assert await bench.ask() == AccessToken("T1", NOW, NOW + 3600)
    assert bench.endpoint.forms == [
        {"grant_type": ["client_credentials"], "client_id": ["a:client"], "client_secret": [SECRET]}
    ]
    assert "Authorization" not in bench.endpoint.headers[0]


@pytest.mark.parametrize(
    ("scopes", "sent"), [((), None), (("roles",), ["roles"]), (("roles", "https://a/b"), ["roles https://a/b"])]
)
async def test_scopes_are_joined_by_spaces_and_left_out_if_empty(
    bench: Bench, scopes: tuple[str, ...], sent: list[str] | None
) -> None:
    await bench.ask(scopes=scopes)
    assert bench.endpoint.forms[0].get("scope") == sent


async def test_with_client_secret_basic_only_the_header_has_the_secret(bench: Bench) -> None:
    await bench.ask(client_auth_method="client_secret_basic", scopes=("roles",))
    assert bench.endpoint.forms == [{"grant_type": ["client_credentials"], "scope": ["roles"]}]
    scheme, _, credentials = bench.endpoint.headers[0]["Authorization"].partition(" ")
    client_id, _, secret = base64.b64decode(credentials).decode("ascii").partition(":")
    assert (scheme, unquote_plus(client_id), unquote_plus(secret)) == ("Basic", "a:client", SECRET)


@given(client_id=st.text(min_size=1), secret=st.text(), scopes=st.lists(st.text(min_size=1).filter(str.strip)))
def test_any_credentials_can_be_decoded_from_the_form(client_id: str, secret: str, scopes: list[str]) -> None:
    body = token_request(OAuth2Auth("https://auth.example", client_id, secret, tuple(scopes)), NOW).body
    expected = {"grant_type": ["client_credentials"], "client_id": [client_id], "client_secret": [secret]}
    if scopes:
        expected["scope"] = [" ".join(scopes)]
    assert body.isascii()
    assert parse_qs(body, keep_blank_values=True, strict_parsing=True) == expected


# --------------------------------------------------------------- success


@pytest.mark.parametrize("token_type", ["bearer", "Bearer", "BEARER"])
async def test_the_token_type_is_read_without_regard_to_case(bench: Bench, token_type: str) -> None:
    bench.endpoint.body = {"access_token": "T1", "token_type": token_type}
    assert await bench.ask() == AccessToken("T1", NOW, None)


@pytest.mark.parametrize(
    ("expires_in", "expires_at"),
    [
        (3600, NOW + 3600),
        ("3600", NOW + 3600),
        (1.5, NOW + 1.5),
        ("1.5", NOW + 1.5),
        (0, NOW),
        (-1, NOW),
        (None, None),
        (99_999_999_999_999, NOW + 86_400),
        ("1e300", NOW + 86_400),
        (10**400, NOW + 86_400),
        (math.inf, NOW + 86_400),
    ],
)
async def test_a_lifetime_is_a_number_or_a_string(bench: Bench, expires_in: object, expires_at: float | None) -> None:
    bench.endpoint.body = {"access_token": "T1", "token_type": "bearer", "expires_in": expires_in}
    assert await bench.ask() == AccessToken("T1", NOW, expires_at)


async def test_other_members_of_an_answer_are_ignored(bench: Bench) -> None:
    bench.endpoint.body = {
        "access_token": "T1",
        "refresh_token": ["r"],
        "scope": "others than asked for",
        "expires_at": "soon",
        "mac_key": {},
    }
    assert await bench.ask(scopes=("roles",)) == AccessToken("T1", NOW, None)


async def test_the_lifetime_counts_from_the_request(bench: Bench) -> None:
    bench.endpoint.seconds = 7.0
    assert await bench.ask() == AccessToken("T1", NOW, NOW + 3600)


# --------------------------------------------------------------- no success


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"token_type": "bearer"}, "the answer can't be used: access_token is missing"),
        ({"access_token": None}, "the answer can't be used: access_token is missing"),
        ([], "the answer can't be used: access_token is missing"),
        ("T1", "the answer can't be used: access_token is missing"),
        (b"", "the answer can't be used: access_token is missing"),
        (b"<html>access_token=T1</html>", "the answer can't be used: access_token is missing"),
        (b"access_token=T1&token_type=bearer", "the answer can't be used: access_token is missing"),
        (b"\xff\xfe", "the answer can't be used: access_token is missing"),
        (b"[" * 60_000, "the answer can't be used: access_token is missing"),
        ({"access_token": 7}, "the answer can't be used: access_token must be a string of visible ASCII characters"),
        ({"access_token": ""}, "the answer can't be used: access_token must be a string of visible ASCII characters"),
        ({"access_token": "T\r\nX: y"}, "the answer can't be used: access_token must be a string of visible ASCII"),
        ({"access_token": "T 1"}, "the answer can't be used: access_token must be a string of visible ASCII"),
        ({"access_token": {"value": "T"}}, "the answer can't be used: access_token must be a string of visible ASCII"),
        ({"access_token": ["T"]}, "the answer can't be used: access_token must be a string of visible ASCII"),
        ({"access_token": "T", "token_type": {}}, "the answer can't be used: token_type is '(nested)'; only bearer is"),
        ({"access_token": "T", "token_type": "mac"}, "the answer can't be used: token_type is 'mac'; only bearer is"),
        ({"access_token": "T", "expires_in": "soon"}, "the answer can't be used: expires_in is 'soon'; it must be a"),
        ({"access_token": "T", "expires_in": True}, "the answer can't be used: expires_in is 'True'; it must be"),
        ({"access_token": "T", "expires_in": [1]}, "the answer can't be used: expires_in is '(nested)'; it must be"),
        (b'{"access_token": "T", "expires_in": NaN}', "the answer can't be used: expires_in is 'nan'; it must be"),
        ({"error": "invalid_scope", "error_description": "no such"}, "invalid_scope: no such"),
        ({"error": "x", "access_token": "T"}, "x"),
        ({"error": {"code": 7}}, "(nested)"),
    ],
)
async def test_a_200_without_a_usable_token_is_a_refusal(bench: Bench, body: object, error: str) -> None:
    bench.endpoint.body = body
    answer = await bench.ask()
    assert isinstance(answer, TokenRefused)
    assert answer.error.startswith(error)
    assert answer.error.endswith(f"(HTTP 200 from 127.0.0.1:{bench.server.port})")


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 418, 499])
async def test_other_answers_of_a_token_endpoint_are_refusals(bench: Bench, status: int) -> None:
    bench.endpoint.status, bench.endpoint.body = status, {"error": "invalid_client", "error_description": "who?"}
    where = f"HTTP {status} from 127.0.0.1:{bench.server.port}"
    assert await bench.ask() == TokenRefused(f"invalid_client: who? ({where})")
    bench.endpoint.body = b"<html>"
    assert await bench.ask() == TokenRefused(where)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503, 599])
async def test_temporary_statuses_make_a_token_endpoint_unavailable(bench: Bench, status: int) -> None:
    bench.endpoint.status, bench.endpoint.body = status, b"oops"
    assert await bench.ask() == TokenUnavailable(f"HTTP {status} from 127.0.0.1:{bench.server.port}")


@pytest.mark.parametrize("status", [408, 429, 503])
@pytest.mark.parametrize(("asked", "seconds"), [("120", 120.0), ("soon", None), (None, None)])
async def test_a_busy_token_endpoint_may_send_a_retry_after_header(
    bench: Bench, status: int, asked: str | None, seconds: float | None
) -> None:
    bench.endpoint.status, bench.endpoint.retry_after = status, asked
    answer = await bench.ask()
    assert isinstance(answer, TokenUnavailable)
    assert answer.retry_after_seconds == seconds


async def test_a_token_endpoint_that_can_t_be_reached_is_unavailable(bench: Bench) -> None:
    port = bench.server.port
    await bench.server.close()
    assert await bench.ask() == TokenUnavailable(f"connection refused by 127.0.0.1:{port}")


async def test_a_token_endpoint_is_guarded_like_a_callback(bench: Bench) -> None:
    answer = await bench.ask(endpoint="http://10.0.0.1/token")
    assert isinstance(answer, TokenUnavailable)
    assert "10.0.0.0/8" in answer.error


async def test_the_target_of_a_redirect_does_not_get_the_secret(bench: Bench) -> None:
    bench.endpoint.location = bench.url
    bench.endpoint.status = 307
    assert isinstance(await bench.ask(), TokenRefused)
    assert len(bench.endpoint.forms) == 1


async def test_an_error_that_repeats_secrets_is_masked(bench: Bench) -> None:
    basic = OAuth2Auth(bench.url, "a:client", SECRET, client_auth_method="client_secret_basic")
    headers = token_request(basic, NOW).headers
    form = token_request(OAuth2Auth(bench.url, "a:client", SECRET), NOW).body
    bench.endpoint.status = 400
    bench.endpoint.body = {
        "error": "invalid_client",
        "error_description": f"{SECRET} | {form} | {headers['Authorization']} | client_secret=other",
    }
    answer = await bench.ask()
    assert isinstance(answer, TokenRefused)
    assert answer.error.startswith("invalid_client: ***")
    for hidden in (SECRET, "s3cr3t", headers["Authorization"].split()[1], "other"):
        assert hidden not in answer.error


@pytest.mark.parametrize(
    "form",
    [
        lambda secret: base64.b64encode(secret.encode()).decode(),
        lambda secret: base64.b64encode(f"x{secret}".encode()).decode()[2:],
        lambda secret: quote(secret, safe="").lower(),  # because the rest has no capital letters
        lambda secret: json.dumps(secret)[1:-1],
    ],
    ids=["base64", "base64 of more", "percent-encoded", "JSON"],
)
def test_an_error_shows_no_secret_in_any_encoding(form: Callable[[str], str]) -> None:
    auth = OAuth2Auth("https://id.example/token", "c", 'pl/an+ted"sécret')
    body = json.dumps({"error": "invalid_client", "error_description": f"<{form(auth.client_secret)}>"}).encode()
    answer = read_answer(auth.endpoint, token_request(auth, NOW).secrets, 400, body, NOW)
    assert answer == TokenRefused("invalid_client: <***> (HTTP 400 from id.example)")


def test_the_beginning_of_a_long_secret_is_masked_in_an_error() -> None:
    auth = OAuth2Auth("https://id.example/token", "c", "pl\u00e4nted" * 100_000)
    body = json.dumps({"error": "no", "error_description": f"<{auth.client_secret[:5000]}"}).encode()
    secrets = token_request(auth, NOW).secrets
    tracemalloc.start()
    try:
        answer = read_answer(auth.endpoint, secrets, 400, body, NOW)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(answer, TokenRefused)
    assert answer.error == "no: <***... (5005 characters) (HTTP 400 from id.example)"
    assert peak < len(auth.client_secret)  # all forms of this text would take thirty times as long


def test_an_error_shows_no_credential_in_the_endpoint_s_query() -> None:
    auth = OAuth2Auth("https://id.example/token?api_key=in-the-url%21", "c", "s")
    body = json.dumps({"error": "no", "error_description": "/token?api_key=in-the-url%21, in-the-url!"}).encode()
    answer = read_answer(auth.endpoint, token_request(auth, NOW).secrets, 400, body, NOW)
    assert isinstance(answer, TokenRefused)
    assert "in-the-url" not in answer.error


@pytest.mark.parametrize("error", ["", None, False])
def test_an_empty_error_beside_a_token_is_ignored(error: object) -> None:
    body = json.dumps({"access_token": "T1", "error": error}).encode()
    assert read_answer(AUTH.endpoint, SECRETS, 200, body, NOW) == AccessToken("T1", NOW)


def test_a_short_secret_is_masked_in_a_message() -> None:
    body = json.dumps({"error": "no", "error_description": "it is x1!, x1!"}).encode()
    found = read_answer("https://id.example/", ("x1!", ""), 400, body, 0.0)
    assert found == TokenRefused("no: it is ***, *** (HTTP 400 from id.example)")


def test_an_error_of_a_token_endpoint_is_one_short_line() -> None:
    body = json.dumps({"error": "e\r\n\x1b[31m", "error_description": "x" * 10_000}).encode()
    answer = read_answer(AUTH.endpoint, SECRETS, 400, body, NOW)
    assert isinstance(answer, TokenRefused)
    assert answer.error.startswith("e   [31m: xxx")
    assert answer.error.endswith("... (10010 characters) (HTTP 400 from auth.example)")
    assert len(answer.error) < 400
    assert answer.error.isprintable()


def test_the_endpoint_is_named_without_userinfo_and_query() -> None:
    auth = OAuth2Auth("https://user:pw@auth.example:8443/token?key=k", "c", "s")
    assert read_answer(auth.endpoint, (), 404, b"", NOW) == TokenRefused("HTTP 404 from auth.example:8443")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
_NAMES = st.sampled_from(["access_token", "token_type", "expires_in", "error", "error_description", "scope"])


@given(status=st.integers(100, 999), fields=st.dictionaries(_NAMES, _JSON) | _JSON)
def test_any_json_answer_is_read_without_an_exception(status: int, fields: object) -> None:
    answer = read_answer(AUTH.endpoint, SECRETS, status, json.dumps(fields).encode(), NOW)
    assert isinstance(answer, AccessToken | TokenRefused | TokenUnavailable)
    assert isinstance(answer, AccessToken) <= (200 <= status < 300)


@given(status=st.integers(100, 999), body=st.binary())
def test_any_bytes_in_an_answer_are_read_without_an_exception(status: int, body: bytes) -> None:
    assert isinstance(read_answer(AUTH.endpoint, SECRETS, status, body, NOW), TokenRefused | TokenUnavailable)


# --------------------------------------------------------------- the JWT profile


async def test_an_assertion_replaces_the_secret_in_the_form(bench: Bench) -> None:
    auth = JwtProfileAuth(bench.url, "issuer", "client-1", bench.url, HMAC_KEY, "HS256", scopes=("a", "b"))
    assert await bench.fetch(subscription("s", auth), auth) == AccessToken("T1", NOW, NOW + 3600)
    [form] = bench.endpoint.forms
    [assertion] = form.pop("client_assertion")
    assert form == {
        "grant_type": ["client_credentials"],
        "client_assertion_type": ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"],
        "scope": ["a b"],
    }
    options: Options = {"verify_exp": False, "verify_iat": False}
    claims = jwt.decode(assertion, HMAC_KEY, algorithms=["HS256"], audience=bench.url, options=options)
    assert (claims["iss"], claims["sub"]) == ("issuer", "client-1")
    assert "Authorization" not in bench.endpoint.headers[0]


async def test_an_assertion_that_is_refused_is_not_shown(bench: Bench) -> None:
    auth = JwtProfileAuth(bench.url, "issuer", "client-1", bench.url, HMAC_KEY, "HS256", jwt_id="the-same")
    assertion = client_assertion(auth, NOW)
    bench.endpoint.status = 401
    bench.endpoint.body = {"error": "invalid_client", "error_description": f"not this: {assertion} {HMAC_KEY.decode()}"}
    answer = await bench.fetch(subscription("s", auth), auth)
    assert isinstance(answer, TokenRefused)
    assert answer.error.startswith("invalid_client: not this: ***")
    assert assertion not in answer.error
    assert HMAC_KEY.decode() not in answer.error
