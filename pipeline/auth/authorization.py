"""Puts `Authorization` on an attempt: what the delivery path calls to send an event (delivery.Send).

Only OAuth 2.0 needs anything here; for the other kinds the callback has the header in its prepared request, and they
pay one comparison.
"""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

from pipeline.auth.token_cache import TokenCache
from pipeline.core.model import Event
from pipeline.core.outcome import NotPermitted, Outcome, Rejected
from pipeline.core.subscription import ClientAuth, Subscription

UNAUTHORIZED = 401


class AuthorizedSend(Protocol):
    """One attempt over HTTP; never raises (http/webhook.py)."""

    def __call__(
        self, subscription: Subscription, event: Event, attempt: int, authorization: str | None = None
    ) -> Awaitable[Outcome]:
        """What happened."""
        ...


@dataclass(frozen=True, slots=True)
class Authorized:
    """A callback that is authorized: composes `AuthorizedSend` and `TokenCache` into `delivery.Send`."""

    callback: AuthorizedSend
    tokens: TokenCache

    def __call__(
        self, subscription: Subscription, event: Event, attempt: int, *, renew_token: bool = False
    ) -> Awaitable[Outcome]:
        """What happened in the attempt. *renew_token*: the last one was answered 401, so not that token again."""
        if isinstance(subscription.auth, ClientAuth):
            return self._send_with_token(subscription, event, attempt, renew_token=renew_token)
        return self.callback(subscription, event, attempt)

    async def _send_with_token(
        self, subscription: Subscription, event: Event, attempt: int, *, renew_token: bool
    ) -> Outcome:
        tokens = self.tokens
        authorization = None if renew_token else tokens.cached(subscription, event.partition)
        if authorization is None:
            answer = await tokens.renewed(subscription, event.partition)
            if not isinstance(answer, str):
                return answer
            authorization = answer
        outcome = await self.callback(subscription, event, attempt, authorization)
        if isinstance(outcome, Rejected) and outcome.status == UNAUTHORIZED:
            tokens.reject(subscription, authorization)
        elif isinstance(outcome, NotPermitted) and outcome.token_refused:
            tokens.reject(subscription, authorization)
            if not renew_token:
                # The event was not sent: at every level it may be tried at once with another token.
                return await self._send_with_token(subscription, event, attempt, renew_token=True)
        return outcome
