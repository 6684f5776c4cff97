"""Gets an access token by the client credentials grant (RFC 6749 section 4.4), with oauthlib.

The HTTP exchange is injected, so the address guard, TLS and proxy rules of callbacks apply to token endpoints too.
"""

import base64
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import quote_plus, unquote_plus

from oauthlib.oauth2 import BackendApplicationClient, MissingTokenError, OAuth2Error

from pipeline.auth.access_token import AccessToken
from pipeline.auth.assertion import ASSERTION_TYPE, client_assertion
from pipeline.auth.token_request import PostForm
from pipeline.core.clock import Clock
from pipeline.core.credentials import query_credentials
from pipeline.core.outcome import RESPONSE_EXCERPT_BYTES, Failed, TokenRefused, TokenUnavailable
from pipeline.core.redaction import MASK, mask, mask_cut, shown_host
from pipeline.core.shown import one_line
from pipeline.core.subscription import BUSY_STATUSES, ClientAuth, JwtProfileAuth, OAuth2Auth, Subscription
from pipeline.http.credentials import is_bearer_token
from pipeline.http.response import retry_after_seconds
from pipeline.http.response_redaction import in_all_forms, masked_excerpt, whole_characters

ERROR_CHARACTERS: Final = 300
"""How much of an error description is shown."""

LONGEST_LIFETIME_SECONDS: Final = 100 * 366 * 86400.0
"""A longer lifetime is implausible."""

UNBELIEVED_LIFETIME_SECONDS: Final = 86400.0
"""How long a token with such an implausible lifetime is used."""


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A request for a token.

    Attributes:
        body: an encoded form.
        secrets: parts of *body* that must not be shown, even if the endpoint echoes them.
    """

    body: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """Asks token endpoints for access tokens. Never raises because of an endpoint's answer."""

    post_form: PostForm
    clock: Clock

    async def __call__(
        self, subscription: Subscription, auth: ClientAuth
    ) -> AccessToken | TokenRefused | TokenUnavailable:
        """A token for *auth*, the auth of *subscription*, or why there is none."""
        # The lifetime is counted from the request, so that no expired token is used.
        asked_at = self.clock.now()
        request = token_request(auth, asked_at)
        answer = await self.post_form(subscription, auth.endpoint, request.body, request.headers)
        if isinstance(answer, Failed):
            return TokenUnavailable(answer.error)
        read = read_answer(auth.endpoint, request.secrets, answer.status, answer.body, asked_at)
        if isinstance(read, TokenUnavailable):
            return replace(
                read, retry_after_seconds=retry_after_seconds(answer.headers.get("Retry-After"), self.clock.now())
            )
        return read


def token_request(auth: ClientAuth, now: float) -> TokenRequest:
    """The request for a token (RFC 6749 section 4.4.2).

    The client authenticates in the form, by HTTP Basic (section 2.3.1) or by an assertion (RFC 7523 section 2.2).

    Args:
        auth: the credentials.
        now: the current time, Unix seconds.
    """
    scope = " ".join(auth.scopes) or None
    in_url = [form for value in query_credentials(auth.endpoint) for form in (value, unquote_plus(value))]
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    if isinstance(auth, JwtProfileAuth):
        assertion = client_assertion(auth, now)
        body = BackendApplicationClient(auth.subject).prepare_request_body(
            scope=scope, client_assertion_type=ASSERTION_TYPE, client_assertion=assertion
        )
        return TokenRequest(body, headers, (assertion, auth.key.decode("latin-1"), *in_url))
    client, basic = BackendApplicationClient(auth.client_id), _basic_credentials(auth)
    secrets = (auth.client_secret, quote_plus(auth.client_secret), basic, *in_url)
    if auth.client_auth_method == "client_secret_basic":
        headers["Authorization"] = f"Basic {basic}"
        return TokenRequest(client.prepare_request_body(scope=scope), headers, secrets)
    body = client.prepare_request_body(scope=scope, include_client_id=True, client_secret=auth.client_secret)
    return TokenRequest(body, headers, secrets)


def _basic_credentials(auth: OAuth2Auth) -> str:
    # Both parts are form-encoded first (RFC 6749 section 2.3.1), so a colon in the id is not a delimiter.
    pair = f"{quote_plus(auth.client_id)}:{quote_plus(auth.client_secret)}"
    return base64.b64encode(pair.encode("ascii")).decode("ascii")


def read_answer(
    endpoint: str, secrets: Collection[str], status: int, body: bytes, asked_at: float
) -> AccessToken | TokenRefused | TokenUnavailable:
    """The meaning of a token endpoint's answer.

    Args:
        endpoint: the URL of the token endpoint.
        secrets: the texts to mask in messages of the endpoint.
        status: the HTTP status. 408, 425, 429 and 5xx mean unavailable; anything else that isn't a usable token is a
            refusal.
        body: the answer's body.
        asked_at: when the request was sent, Unix seconds.
    """
    ending = f"HTTP {status} from {shown_host(endpoint)}"
    fields = _fields(body)
    if not 200 <= status < 300:  # noqa: PLR2004 - the successes of RFC 9110
        error = f"{_explanation(secrets, fields)} ({ending})" if fields.get("error") else ending
        is_busy = status >= 500 or status in BUSY_STATUSES  # noqa: PLR2004 - server errors
        return TokenUnavailable(error) if is_busy else TokenRefused(error)
    try:
        lifetime_seconds = _lifetime_seconds(fields.get("expires_in"))
        value = _bearer_token(fields)
    except OAuth2Error:
        return TokenRefused(f"{_explanation(secrets, fields)} ({ending})")
    except ValueError as error:
        return TokenRefused(f"the answer can't be used: {error} ({ending})")
    return AccessToken(value, asked_at, None if lifetime_seconds is None else asked_at + lifetime_seconds)


def _fields(body: bytes) -> dict[str, object]:
    """The members of a JSON object; empty for any other body."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _shown(value: object) -> str:
    """*value* as text. RFC 6749 section 5 uses only strings and numbers."""
    return "(nested)" if isinstance(value, dict | list) else str(value)


def _bearer_token(fields: Mapping[str, object]) -> str:
    """The token of a success answer (RFC 6749 section 5.1).

    Raises:
        OAuth2Error: the answer is an error, although its status is a success.
        ValueError: the answer has no token that can be sent as a bearer token.
    """
    # Scope and lifetime are removed first: oauthlib warns if the granted scopes differ from the requested ones, treats
    # a lifetime of 0 as missing, and crashes on an infinite lifetime.
    names = ("access_token", "token_type", "error")
    read_here = {
        name: _shown(fields[name]) if isinstance(fields[name], dict | list) else fields[name]
        for name in names
        if fields.get(name) is not None and (name != "error" or fields[name])  # an empty `error` means no error
    }
    try:
        token = BackendApplicationClient("").parse_request_body_response(json.dumps(read_here))
    except MissingTokenError as error:
        raise ValueError("access_token is missing") from error
    # A missing type counts as bearer, as in other clients.
    token_type = str(token.get("token_type", "bearer"))
    if token_type.lower() != "bearer":
        raise ValueError(f"token_type is {_printable(token_type)!r}; only bearer is supported")
    value = fields["access_token"]
    if not isinstance(value, str) or not is_bearer_token(value):
        raise ValueError("access_token must be a string of visible ASCII characters")
    return value


def _lifetime_seconds(value: object) -> float | None:
    """The seconds in `expires_in`, which is a number or a string. With 0 or less, the token is used once.

    Raises:
        ValueError: *value* is something else.
    """
    if value is None:
        return None
    seconds = _number(value)
    if seconds is None or math.isnan(seconds):
        raise ValueError(f"expires_in is {_printable(_shown(value))!r}; it must be a number of seconds")
    return max(0.0, seconds) if seconds <= LONGEST_LIFETIME_SECONDS else UNBELIEVED_LIFETIME_SECONDS


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer with more than 308 digits
        return math.inf if isinstance(value, int) and value > 0 else -math.inf
    except ValueError:
        return None


def _explanation(secrets: Collection[str], fields: Mapping[str, object]) -> str:
    """`error: error_description` of an error answer (RFC 6749 section 5.2), with all secrets masked."""
    parts = [_shown(fields[name]) for name in ("error", "error_description") if fields.get(name)]
    # The text is cut first, because a search of a long text for all forms of a long secret blocks the event loop for
    # seconds.
    text, forms = ": ".join(parts), in_all_forms(_beginning(secret) for secret in secrets)
    shown = masked_excerpt(_beginning(text), forms).decode("utf-8", "replace")
    for secret in secrets:  # `masked_excerpt` does not mask short secrets
        if secret:
            shown = shown.replace(secret, MASK)
    shown = one_line(mask(shown))
    is_long = len(text) > ERROR_CHARACTERS
    return f"{shown[:ERROR_CHARACTERS]}... ({len(text)} characters)" if is_long else shown


def _beginning(text: str) -> bytes:
    return whole_characters(text[:RESPONSE_EXCERPT_BYTES].encode("utf-8", "replace")[:RESPONSE_EXCERPT_BYTES])


def _printable(text: str) -> str:
    """A text that an endpoint sent, made fit for a message: without credentials, shortened, on one line."""
    return one_line(mask_cut(text, ERROR_CHARACTERS))
