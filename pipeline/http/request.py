"""The bytes of a request: a head built once per subscription and completed for each event. Pure except for the clock.

In order of precedence (docs/design.md, The request): framing and Authorization, the pipeline's own fields, record
headers, subscription headers, defaults. If a name occurs more than once, only the first field is sent; upper and lower
case do not matter. But a record can't replace a subscription header that holds a credential.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from pipeline.core.clock import Clock
from pipeline.core.credentials import names_credential
from pipeline.core.model import DEAD_LETTER_PREFIX, Event
from pipeline.core.subscription import Header, NoAuth, Subscription
from pipeline.core.webhook_ids import FIRST_ID, WebhookIds
from pipeline.http import headers as fields
from pipeline.http.credentials import static_authorization
from pipeline.http.signature import Signer

HeaderLeftOut = Callable[[str], None]
"""Called with the name of each record or subscription header that is not sent."""

_VISIBLE: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of a request that name its target.

    Attributes:
        request_target: origin-form, or absolute-form for a plain HTTP proxy (RFC 9112 section 3.2), percent-encoded.
        host: the value of `Host`.
        proxy_authorization: the value of `Proxy-Authorization`, for a plain HTTP proxy with credentials.
    """

    request_target: str = field(repr=False)
    host: str
    proxy_authorization: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RequestHead:
    """The common part of all requests of one subscription; made by `request_head`.

    Attributes:
        start: the lines that no header overrides.
        weaker: by name in lower case, the lines that a record header with the same name replaces.
        credentials: the names in *weaker* that a record can't replace, as `headers.folded` returns them.
        plain: *start* and all of *weaker*, for events without headers.
        signer: signs each attempt; None without signing secrets.
        ids: finds the webhook-id of an event.
    """

    start: bytes = field(repr=False)
    weaker: Mapping[str, bytes] = field(repr=False)
    plain: bytes = field(repr=False)
    signer: Signer | None
    clock: Clock
    left_out: HeaderLeftOut
    ids: WebhookIds
    credentials: frozenset[str] = frozenset()

    def request(self, event: Event, attempt: int, authorization: str | None = None) -> bytes:
        """The whole request for one attempt.

        Args:
            event: the event. Its topic has a name that Kafka allows.
            attempt: the number of the attempt, from 1.
            authorization: the value of `Authorization` if it differs between events.

        Raises:
            ValueError: *authorization* is not a valid header value.
        """
        body = event.value or b""
        webhook_id = self.ids.of(event)
        head = self._with_record_headers(event, webhook_id) if event.headers else self.plain
        own = f"webhook-id: {webhook_id}\r\nwebhook-attempt: {attempt}\r\n"
        if self.signer is not None:
            timestamp = int(self.clock.now())
            signature = self.signer.signature(webhook_id, timestamp, body)
            own = f"{own}webhook-timestamp: {timestamp}\r\nwebhook-signature: {signature}\r\n"
        if authorization is not None:
            own = f"{own}Authorization: {_checked(authorization)}\r\n"
        return head + f"{own}content-length: {len(body)}\r\n\r\n".encode("latin-1") + body

    def options(self, more: Mapping[str, str], authorization: str | None = None) -> bytes:
        """An OPTIONS request to the same target, with the subscription's headers and credentials.

        Args:
            more: additional fields, with valid names.
            authorization: see `request`.

        Raises:
            ValueError: a value is not a valid header value.
        """
        kept = [line for key, line in self.weaker.items() if not key.startswith("content-")]
        own = "".join(f"{name}: {_checked(value)}\r\n" for name, value in more.items())
        if authorization is not None:
            own = f"{own}Authorization: {_checked(authorization)}\r\n"
        start = b"OPTIONS" + self.start.removeprefix(b"POST")
        return b"".join([start, *kept, own.encode("latin-1"), b"content-length: 0\r\n\r\n"])

    def _with_record_headers(self, event: Event, webhook_id: str) -> bytes:
        """The head with the event's headers. A `dlq.webhook-id` without a valid seal is left out and reported."""
        lines: dict[str, bytes] = {}
        for name, value in event.headers:
            if name.startswith(DEAD_LETTER_PREFIX):
                if name == FIRST_ID and value != webhook_id.encode():
                    self.left_out(name)
                continue
            known = fields.record_field(name)
            line = None if known is None or known.key in lines else fields.record_line(known, value)
            if known is None or line is None or known.folded in self.credentials:
                self.left_out(name[: fields.LONGEST_NAME])
            else:
                lines[known.key] = line
        weaker = self.weaker
        if lines.keys().isdisjoint(weaker):
            return self.plain + b"".join(lines.values())
        kept = [line for key, line in weaker.items() if key not in lines]
        return b"".join([self.start, *kept, *lines.values()])


def request_head(
    subscription: Subscription,
    target: Target,
    *,
    url_authorization: str | None,
    user_agent: str,
    clock: Clock,
    left_out: HeaderLeftOut,
    ids: WebhookIds,
) -> RequestHead:
    """The head for one subscription. Invalid and reserved headers of the subscription are left out and reported.

    Args:
        subscription: the subscription. Its headers may set Authorization and Cookie only with the auth type none.
        target: where the request goes.
        url_authorization: the value of `Authorization` with the auth type none, unless a header has this name.
        user_agent: the value of `User-Agent`, unless a header overrides it.
        clock: gives the time of each attempt.
        left_out: called for each header that is not sent.
        ids: finds the webhook-id of an event.

    Raises:
        ConfigurationError: the credentials or the signing secrets are invalid.
    """
    authorization = static_authorization(subscription.auth)
    takes_credentials = isinstance(subscription.auth, NoAuth)
    if takes_credentials and not any(header.name.lower() == "authorization" for header in subscription.headers):
        authorization = url_authorization
    signer = Signer.from_secrets(subscription.signing_secrets) if subscription.signing_secrets else None
    weaker: dict[str, bytes] = {}
    for header in subscription.headers:
        line = _subscription_line(header, takes_credentials=takes_credentials)
        if line is None or header.name.lower() in weaker:
            left_out(header.name[: fields.LONGEST_NAME])
        else:
            weaker[header.name.lower()] = line
    weaker.setdefault("user-agent", f"User-Agent: {user_agent}\r\n".encode("latin-1"))
    weaker.setdefault("content-type", b"content-type: application/json\r\n")
    start = _start(subscription, target, authorization)
    credentials = frozenset(fields.folded(key) for key in weaker if names_credential(key))
    return RequestHead(start, weaker, start + b"".join(weaker.values()), signer, clock, left_out, ids, credentials)


def _start(subscription: Subscription, target: Target, authorization: str | None) -> bytes:
    lines = [
        f"POST {target.request_target} HTTP/1.1",
        f"Host: {target.host}",
        f"webhook-subscription: {quote(subscription.id, safe=_VISIBLE)}",
    ]
    if target.proxy_authorization is not None:
        lines.append(f"Proxy-Authorization: {target.proxy_authorization}")
    if authorization is not None:
        lines.append(f"Authorization: {authorization}")
    if subscription.handshake is not None:
        # CloudEvents webhooks, section 4.1.2.
        lines.append(f"WebHook-Request-Origin: {subscription.handshake.origin}")
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")


def _subscription_line(header: Header, *, takes_credentials: bool) -> bytes | None:
    key = header.name.lower()
    if not fields.is_name(header.name) or fields.is_reserved(key):
        return None
    if key in fields.CREDENTIALS and not takes_credentials:
        return None
    # In UTF-8, like record headers: HTTP treats both as opaque bytes.
    value = header.value.encode("utf-8", "surrogatepass").strip(b" \t")
    return b"%b: %b\r\n" % (header.name.encode("ascii"), value) if fields.is_value(value) else None


def _checked(authorization: str) -> str:
    if not authorization.isascii() or not fields.is_value(authorization.encode("ascii")):
        raise ValueError("the access token is not a valid header value")
    return authorization
