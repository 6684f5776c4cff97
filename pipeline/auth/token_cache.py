"""The access tokens of a worker: read for every event, fetched once for however many lanes ask.

A token belongs to a set of credentials, its rows to the partitions that use it: so it is shared within a worker, and
moves to another with any of its partitions. What goes wrong is an outcome, never an exception. Called by authorize.py;
pure asyncio, the store is a Faust table (stored.py, table.py) behind a protocol.
"""

import asyncio
import logging
from functools import partial
from typing import Protocol

from pipeline.auth.access_token import AccessToken, fingerprint
from pipeline.auth.grant import Grant, NoToken
from pipeline.core.clock import Clock
from pipeline.core.errors import BrokerError
from pipeline.core.outcome import TokenUnavailable
from pipeline.core.policy import longest_wait
from pipeline.core.subscription import Auth, ClientAuth, Subscription
from pipeline.observability.telemetry import TokenResult

logger = logging.getLogger(__name__)


class FetchToken(Protocol):
    """Asks a token endpoint (oauth2.ClientCredentials)."""

    async def __call__(self, subscription: Subscription, auth: ClientAuth) -> AccessToken | NoToken:
        """A token for *auth*, the auth of *subscription*, or why there is none."""
        ...


class TokenStore(Protocol):
    """Where tokens survive a restart: rows by partition and fingerprint (stored.StoredTokens)."""

    def load(self, partition: int, fingerprint: bytes) -> AccessToken | None:
        """The token of that row, expired or not; None if there is no row that can be read."""
        ...

    async def save(self, partition: int, fingerprint: bytes, token: AccessToken) -> None:
        """Write the row and return when it is durable.

        Raises:
            BrokerError: it is not.
        """
        ...

    async def sweep(self, now: float) -> int:
        """Delete the rows of tokens that have expired at *now*, Unix seconds; how many.

        Raises:
            BrokerError: not all of them could be deleted.
        """
        ...


class Observer(Protocol):
    """Who counts what token endpoints say (telemetry.Telemetry)."""

    def token_fetched(self, result: TokenResult) -> None:
        """A token endpoint was asked."""
        ...


class TokenCache:
    """The tokens of a worker.

    Args:
        fetch: asks the token endpoint; bounds its own time.
        store: keeps tokens over restarts and moves of partitions. That it fails costs a fetch later on, no event.
    """

    def __init__(self, fetch: FetchToken, store: TokenStore, clock: Clock, observer: Observer) -> None:
        self._fetch = fetch
        self._store = store
        self._clock = clock
        self._observer = observer
        self._grants: dict[Auth, Grant] = {}
        self._saves: set[asyncio.Task[None]] = set()

    def cached(self, subscription: Subscription, partition: int) -> str | None:
        """`Authorization` for a request, if it can be had without waiting; None if `renewed` has to be asked.

        Near the end of a token's life this starts the renewal and goes on with the old one until it expires.
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
        if grant.flight is None and grant.recent_failure(now, longest_wait(subscription.retry)) is None:
            self._start_flight(grant, subscription)
        return grant.authorization

    async def renewed(self, subscription: Subscription, partition: int) -> str | NoToken:
        """`Authorization` with a token that is good now, fetched if need be; or why there is none.

        All who ask for the same credentials at a time wait for one fetch, which goes on if one of them is cancelled.

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
        if grant.flight is None and failure is not None:
            return failure
        outcome = await asyncio.shield(grant.flight or self._start_flight(grant, subscription))
        return outcome.authorization if isinstance(outcome, AccessToken) else outcome

    def reject(self, subscription: Subscription, authorization: str) -> None:
        """A callback answered 401 to *authorization*: the next one who asks for it gets a new token.

        If the token has been replaced in the meantime this says nothing about the new one, and nothing happens.
        """
        grant = self._grants.get(subscription.auth)
        if grant is not None:
            grant.reject(authorization)

    def release(self, partition: int) -> None:
        """The partition was given back: its rows are another worker's now, its tokens are forgotten unless shared."""
        for auth, grant in list(self._grants.items()):
            grant.partitions.discard(partition)
            if not grant.partitions and grant.flight is None:
                del self._grants[auth]

    async def sweep(self) -> None:
        """Forget what nobody has used since the last sweep, and delete the rows of expired tokens.

        Nothing is lost by it: a token that is good and asked for again is read from its row.
        """
        for auth, grant in list(self._grants.items()):
            if not grant.was_used and grant.flight is None:
                del self._grants[auth]
            grant.was_used = False
        try:
            await self._store.sweep(self._clock.now())
        except BrokerError as error:
            logger.warning("could not delete expired tokens; the next sweep tries again: %s", error)

    async def saved(self) -> None:
        """Return when every token so far has been written, or has failed to be."""
        while self._saves:
            await asyncio.wait(self._saves)

    async def close(self, *, wait_seconds: float = 5.0) -> None:
        """End the requests under way, and give the last rows *wait_seconds* to become durable."""
        flights = [grant.flight for grant in self._grants.values() if grant.flight is not None]
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
        if not self._saves:
            return
        _, late = await asyncio.wait(self._saves, timeout=wait_seconds)
        for save in late:
            save.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        if late:
            logger.warning("%d tokens were not written in time; they will be fetched again", len(late))

    # --------------------------------------------------------------- fetching

    def _grant(self, auth: Auth) -> Grant:
        grant = self._grants.get(auth)
        if grant is None:
            if not isinstance(auth, ClientAuth):
                raise TypeError(f"access tokens exist only for client credentials, not for {type(auth).__name__}")
            grant = self._grants[auth] = Grant(auth, fingerprint(auth))
        return grant

    def _start_flight(self, grant: Grant, subscription: Subscription) -> "asyncio.Task[AccessToken | NoToken]":
        flight = asyncio.create_task(self._fly(grant, subscription), name=f"token for {subscription.id}")
        flight.add_done_callback(partial(_report_fault, subscription.id))
        grant.flight = flight
        return flight

    async def _fly(self, grant: Grant, subscription: Subscription) -> AccessToken | NoToken:
        try:
            outcome = await self._fetch(subscription, grant.auth)
        finally:
            grant.flight = None
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
        """The partition uses these credentials from now on: its row tells of a token, or is told of ours."""
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
        # Beside the delivery, not in its way: what is lost with a row is one request to the token endpoint.
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


def _report_fault(subscription: str, flight: "asyncio.Task[AccessToken | NoToken]") -> None:
    # Nobody may be waiting for a renewal ahead of time: its faults are ours, and must not go unseen.
    if not flight.cancelled() and (fault := flight.exception()) is not None:
        logger.error("the request for a token of subscription %r failed", subscription, exc_info=fault)
