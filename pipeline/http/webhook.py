"""Calls the callback of a subscription: one attempt for one event, and its outcome."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from pipeline.core.bounded import Bounded
from pipeline.core.clock import Clock
from pipeline.core.errors import ConfigurationError
from pipeline.core.model import Event
from pipeline.core.outcome import RESPONSE_EXCERPT_BYTES, Failed, Outcome
from pipeline.core.subscription import HttpLimits, Qos, Subscription
from pipeline.core.webhook_ids import WebhookIds
from pipeline.http.credentials import static_authorization
from pipeline.http.destination import Destination
from pipeline.http.request import RequestHead, request_head
from pipeline.http.response import Answer, judge
from pipeline.http.response_redaction import as_utf8, masked_excerpt, secrets_of
from pipeline.http.transport import Transport

MAX_PREPARED: Final = 10_000
"""The most subscriptions whose head and destination are kept. A new subscription replaces the oldest."""

AT_MOST_ONCE_IDLE_SECONDS: Final = 1.0
"""How long an at-most-once connection may be idle.

If the receiver closes the connection while a request is sent, this level can't repeat the request. Servers close idle
connections after 2 s (gunicorn), 5 s (Node, Apache, uvicorn) or more.
"""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """The head and destination of a revision of a subscription, or why no request can be made. Computed once."""

    subscription: Subscription
    ready: tuple[RequestHead, Destination] | None
    failed: Failed


class Callback:
    """One attempt over HTTP. Raises nothing except a cancellation and the exceptions of *check*.

    Args:
        transport: the HTTP client, which its creator starts and closes.
        clock: tells the time, for signatures and to interpret a Retry-After that is a date.
        user_agent: the value of `User-Agent`: "name/version".
        on_header_left_out: called with the subscription id and the name of each header that can't be sent.
        ids: determines the webhook-id of an event; without keys, it is always the event's position.
        check: called right before an event is sent; if it raises an exception, the event is not sent.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        *,
        user_agent: str,
        on_header_left_out: Callable[[str, str], None],
        ids: WebhookIds | None = None,
        check: Callable[[], None] | None = None,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._user_agent = user_agent
        self._on_header_left_out = on_header_left_out
        self._ids = ids or WebhookIds()
        self._check = check
        self._prepared: Bounded[str, _Prepared] = Bounded(MAX_PREPARED)

    async def __call__(
        self, subscription: Subscription, event: Event, attempt: int, authorization: str | None = None
    ) -> Outcome:
        """The outcome of the attempt.

        Args:
            subscription: the subscription. Head and destination are computed once for each object.
            event: the event to send.
            attempt: the number of the attempt, from 1.
            authorization: the value of `Authorization` from an OAuth 2.0 access token.
        """
        prepared = self._prepared.get(subscription.id)
        if prepared is None or prepared.subscription is not subscription:
            prepared = await self._prepare(subscription)
        if prepared.ready is None:
            return prepared.failed
        head, destination = prepared.ready
        try:
            request = head.request(event, attempt, authorization)
        except ValueError as error:
            return Failed(str(error), may_have_arrived=False)
        answer = await self._transport.exchange(
            destination,
            request,
            keep=RESPONSE_EXCERPT_BYTES,
            keep_of_success=None,
            repeatable=subscription.qos is not Qos.AT_MOST_ONCE,
            check=self._check,
        )
        if isinstance(answer, Failed):
            return answer
        if answer.body and not 200 <= answer.status < 300:  # noqa: PLR2004 - the body of a success is not used
            sent = static_authorization(subscription.auth) if authorization is None else authorization
            secrets = secrets_of(subscription, sent)
            answer.body = masked_excerpt(as_utf8(answer.body, answer.headers), secrets)
        return judge(answer, self._clock.now(), token_used=authorization is not None)

    async def ask(
        self, subscription: Subscription, fields: Mapping[str, str], authorization: str | None = None
    ) -> Answer | Failed:
        """The answer to an OPTIONS request, which contains nothing of an event (handshake.py).

        Args:
            subscription: the subscription whose callback is asked, with its credentials and headers.
            fields: additional headers.
            authorization: see `__call__`.
        """
        prepared = await self._prepare(subscription)
        if prepared.ready is None:
            return prepared.failed
        head, destination = prepared.ready
        try:
            request = head.options(fields, authorization)
        except ValueError as error:
            return Failed(str(error), may_have_arrived=False)
        answer = await self._transport.exchange(destination, request, keep=0, keep_of_success=0, repeatable=True)
        # Even if the OPTIONS request has arrived, the event was not sent.
        return replace(answer, may_have_arrived=False) if isinstance(answer, Failed) else answer

    async def _prepare(self, subscription: Subscription) -> _Prepared:
        ready, failed = None, Failed("", may_have_arrived=False)
        try:
            destination = await self._transport.destination(
                subscription.url,
                tls=subscription.tls,
                proxy=subscription.proxy,
                use_system_proxy=subscription.use_system_proxy,
                limits=_limits(subscription),
            )
            head = request_head(
                subscription,
                destination.target,
                url_authorization=destination.url_authorization,
                user_agent=self._user_agent,
                clock=self._clock,
                left_out=partial(self._on_header_left_out, subscription.id),
                ids=self._ids,
            )
            ready = head, destination
        except ConfigurationError as error:
            failed = Failed(str(error), may_have_arrived=False)
        prepared = _Prepared(subscription, ready, failed)
        self._prepared[subscription.id] = prepared
        return prepared


def _limits(subscription: Subscription) -> HttpLimits:
    limits = subscription.http
    if subscription.qos is not Qos.AT_MOST_ONCE:
        return limits
    return replace(limits, idle_timeout_seconds=min(limits.idle_timeout_seconds, AT_MOST_ONCE_IDLE_SECONDS))
