"""The access tokens of a worker. A token is looked up for every event, and fetched once for all lanes that need it.

A token belongs to a set of credentials. All lanes of a worker that have these credentials share the token. It has a row
in each partition that uses it, so the next owner of the partition finds the token there. Failures are outcomes, never
exceptions. authorization.py uses this module. The store is a protocol, implemented by a Faust table (token_store.py,
runtime/token_table.py).
"""

import asyncio
import logging
from functools import partial
from typing import Final, Protocol

from pipeline.auth.access_token import AccessToken, fingerprint
from pipeline.auth.grant import Grant, NoToken
from pipeline.core.clock import Clock
from pipeline.core.errors import BrokerError
from pipeline.core.outcome import TokenUnavailable
from pipeline.core.policy import longest_wait
from pipeline.core.subscription import Auth, ClientAuth, Subscription
from pipeline.observability.telemetry import TokenResult

logger = logging.getLogger(__name__)

SWEEP_SECONDS: Final = 600.0
CLOSE_SECONDS: Final = 5.0
"""How long a close waits for rows to become durable."""


class FetchToken(Protocol):
    """Requests a token from a token endpoint (`token_endpoint.ClientCredentials`)."""

    async def __call__(self, subscription: Subscription, auth: ClientAuth) -> AccessToken | NoToken:
        """A token for *auth*, the auth of *subscription*, or why there is none."""


class TokenStore(Protocol):
    """Keeps tokens over restarts, as rows by partition and fingerprint (`token_store.StoredTokens`)."""

    def load(self, partition: int, fingerprint: bytes) -> AccessToken | None:
        """The token in the row of this partition and fingerprint, even if expired; None if no row can be read."""

    async def save(self, partition: int, fingerprint: bytes, token: AccessToken) -> None:
        """Write the row and return when it is durable.

        Raises:
            BrokerError: the row could not be made durable.
        """

    async def sweep(self, now: float) -> int:
        """Delete the rows of tokens that have expired at *now*, Unix seconds; return how many.

        Raises:
            BrokerError: not all of them could be deleted.
        """


class TokenObserver(Protocol):
    """Counts the answers from token endpoints (`telemetry.Telemetry`)."""

    def token_fetched(self, result: TokenResult) -> None:
        """Count an answer from a token endpoint."""


class TokenCache:
    """The tokens of a worker.

    Args:
        fetch: requests a token from the token endpoint. It has its own time limit.
        store: keeps tokens when the worker restarts or a partition moves. If it fails, tokens are fetched again.
    """

    def __init__(self, fetch: FetchToken, store: TokenStore, clock: Clock, observer: TokenObserver) -> None:
        self._fetch = fetch
        self._store = store
        self._clock = clock
        self._observer = observer
        self._grants: dict[Auth, Grant] = {}
        self._saves: set[asyncio.Task[None]] = set()

    def cached(self, subscription: Subscription, partition: int) -> str | None:
        """The value of `Authorization`, if it is available without waiting; if None, call `renewed`.

        Shortly before a token expires, its renewal begins, and the old token is returned until the renewal has ended.
        """
        grant = self._grants.get(subscription.auth)
        if grant is None or partition not in grant.partitions:
            return None
        grant.was_used = True
        now = self._clock.now()
        if now < grant.renew_at:
            return grant.authorization
        if now >= grant.ends_at:
            return None
        if grant.request is None and grant.recent_failure(now, longest_wait(subscription.retry)) is None:
            self._start_request(grant, subscription)
        return grant.authorization

    async def renewed(self, subscription: Subscription, partition: int) -> str | NoToken:
        """`Authorization` with a valid token, which is fetched if necessary; or why there is no token.

        Concurrent callers with the same credentials share one fetch, which continues if one of them is cancelled.

        Raises:
            TypeError: the auth of *subscription* is not OAuth 2.0.
        """
        grant = self._grant(subscription.auth)
        now = self._clock.now()
        grant.was_used = True
        self._join(grant, partition, now)
        if grant.usable(now) is not None:
            return grant.authorization
        failure = grant.recent_failure(now, longest_wait(subscription.retry))
        if grant.request is None and failure is not None:
            return failure
        outcome = await asyncio.shield(grant.request or self._start_request(grant, subscription))
        return outcome.authorization if isinstance(outcome, AccessToken) else outcome

    def reject(self, subscription: Subscription, authorization: str) -> None:
        """Record that a callback answered 401 to *authorization*; the next caller gets a new token.

        But if the token replaced a rejected one less than a second ago, callers get the same token until that second
        has passed (`Grant.usable`). Does nothing if the token has been replaced in the meantime.
        """
        grant = self._grants.get(subscription.auth)
        if grant is not None:
            grant.reject(authorization)

    def release(self, partition: int) -> None:
        """Forget the tokens of a partition that was given back, unless other partitions use them too."""
        for auth, grant in list(self._grants.items()):
            grant.partitions.discard(partition)
            if not grant.partitions and grant.request is None:
                del self._grants[auth]

    async def keep_sweeping(self) -> None:
        """Sweep every ten minutes, until cancelled."""
        while True:
            await self._clock.sleep(SWEEP_SECONDS)
            await self.sweep()

    async def sweep(self) -> None:
        """Forget tokens that were not used since the last sweep, and delete the rows of expired tokens.

        A forgotten token that is still valid is read from its row when it is needed again.
        """
        for auth, grant in list(self._grants.items()):
            if not grant.was_used and grant.request is None:
                del self._grants[auth]
            grant.was_used = False
        try:
            await self._store.sweep(self._clock.now())
        except BrokerError as error:
            logger.warning("could not delete expired tokens; the next sweep tries again: %s", error)

    async def saved(self) -> None:
        """Return when the writes of all tokens so far have succeeded or failed."""
        while self._saves:
            await asyncio.wait(self._saves)

    async def close(self) -> None:
        """Cancel the requests under way, and give the last rows `CLOSE_SECONDS` to become durable."""
        requests = [grant.request for grant in self._grants.values() if grant.request is not None]
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)
        if not self._saves:
            return
        _, late = await asyncio.wait(self._saves, timeout=CLOSE_SECONDS)
        for save in late:
            save.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        if late:
            logger.warning("%d tokens could not be stored in time; they will be fetched again", len(late))

    # --------------------------------------------------------------- fetching

    def _grant(self, auth: Auth) -> Grant:
        grant = self._grants.get(auth)
        if grant is None:
            if not isinstance(auth, ClientAuth):
                raise TypeError(f"access tokens exist only for client credentials, not for {type(auth).__name__}")
            grant = self._grants[auth] = Grant(auth, fingerprint(auth))
        return grant

    def _start_request(self, grant: Grant, subscription: Subscription) -> "asyncio.Task[AccessToken | NoToken]":
        request = asyncio.create_task(self._request(grant, subscription), name=f"token for {subscription.id}")
        request.add_done_callback(partial(_report_fault, subscription.id))
        grant.request = request
        return request

    async def _request(self, grant: Grant, subscription: Subscription) -> AccessToken | NoToken:
        try:
            outcome = await self._fetch(subscription, grant.auth)
        finally:
            grant.request = None
        now = self._clock.now()
        if isinstance(outcome, AccessToken) and outcome.is_for_once:
            self._observer.token_fetched("ok")
            return outcome
        if isinstance(outcome, AccessToken) and not outcome.is_good(now):
            outcome = TokenUnavailable("the token had already expired when it arrived")
        if isinstance(outcome, AccessToken):
            self._observer.token_fetched("ok")
            grant.take(outcome, now)
            for partition in grant.partitions:
                self._save(grant, partition, outcome)
        else:
            self._observer.token_fetched("unavailable" if isinstance(outcome, TokenUnavailable) else "refused")
            grant.fail(outcome, now)
        return outcome

    # --------------------------------------------------------------- rows

    def _join(self, grant: Grant, partition: int, now: float) -> None:
        """Record that a partition uses these credentials. Read the token from its row, or write the token to it."""
        if partition in grant.partitions:
            return
        grant.partitions.add(partition)
        stored = self._store.load(partition, grant.fingerprint)
        if stored is not None and grant.prefers(stored, now):
            grant.take(stored, now)
            return
        token = grant.usable(now)
        if token is not None and token != stored:
            self._save(grant, partition, token)

    def _save(self, grant: Grant, partition: int, token: AccessToken) -> None:
        # In the background, so that deliveries don't wait. A lost row only costs one request to the token endpoint.
        task = asyncio.create_task(self._write(grant, partition, token), name=f"token row of partition {partition}")
        self._saves.add(task)
        task.add_done_callback(self._saves.discard)

    async def _write(self, grant: Grant, partition: int, token: AccessToken) -> None:
        try:
            await self._store.save(partition, grant.fingerprint, token)
        except BrokerError as error:
            logger.warning(
                "could not store a token of partition %d; it will be fetched again after a restart: %s",
                partition,
                error,
            )


def _report_fault(subscription: str, request: "asyncio.Task[AccessToken | NoToken]") -> None:
    # An early renewal may have no caller that waits for it, so unexpected exceptions are logged here.
    if not request.cancelled() and (fault := request.exception()) is not None:
        logger.error("the request for a token of subscription %r failed", subscription, exc_info=fault)
