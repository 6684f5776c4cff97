"""Adds `Authorization` to an attempt. The delivery path calls it to send an event (`core.delivery.Send`).

Only OAuth 2.0 needs it. For all other kinds of authentication, the prepared request already contains the header.

After a 401, the token is given up, so the next attempt gets a new one, unless the token has just replaced a rejected
one (grant.py). core/policy.py decides whether the event is sent again.
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
        """Make the attempt, and return its outcome."""


@dataclass(frozen=True, slots=True)
class Authorized:
    """Sends with authorization: composes `AuthorizedSend` and `TokenCache` into `core.delivery.Send`."""

    callback: AuthorizedSend
    tokens: TokenCache

    def __call__(
        self, subscription: Subscription, event: Event, attempt: int, *, renew_token: bool = False
    ) -> Awaitable[Outcome]:
        """The outcome of the attempt.

        With *renew_token*, a new token is requested first, because a callback has answered 401.
        """
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
                # The event was not sent, so every level allows another attempt at once, with a new token.
                return await self._send_with_token(subscription, event, attempt, renew_token=True)
        return outcome
