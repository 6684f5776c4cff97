"""The operations on the attempt log: the attempts of a subscription, and what became of an event."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Final, TypeVar

from pipeline.cluster.attempt_search import AttemptSearch
from pipeline.core.errors import BrokerError
from pipeline.subscriptions.registry import Registry
from pipeline.web.api.event_models import AttemptQuery, Attempts, FateQuery, Fates
from pipeline.web.api.lookup import Lookup, unknown
from pipeline.web.api.operations import ApiAnswer, Call, Operation
from pipeline.web.api.subscriptions import ONE
from pipeline.web.principal import Principal
from pipeline.web.tenant_limits import Turns

SECONDS: Final = 30.0

Result = TypeVar("Result")


class AttemptOperations:
    """The operations on the attempt log.

    Args:
        search: searches the attempt log.
        lookup: finds subscriptions in `registry`.
    """

    def __init__(self, search: AttemptSearch, registry: Registry, lookup: Lookup) -> None:
        self._search = search
        self._registry = registry
        self._lookup = lookup
        # Searches are limited, because reading the log takes CPU time from deliveries.
        self._turns = Turns("searches of the attempt log are waiting")

    def operations(self) -> Sequence[Operation]:
        """The operations with their paths."""
        ok = HTTPStatus.OK
        return (
            Operation("GET", f"{ONE}/attempts", self.list_attempts, {ok: Attempts}, query=AttemptQuery),
            Operation(
                "GET",
                "/api/events/{webhookId}",
                self.show_event,
                {ok: Fates},
                query=FateQuery,
                problems=(HTTPStatus.NOT_FOUND,),
            ),
        )

    async def list_attempts(self, call: Call) -> ApiAnswer:
        """List the attempts of a subscription, newest first.

        Events that ended without an attempt, such as skipped ones, are listed too.

        The search has a time limit. `searchedTo` is the time back to which the log was read; it is null if the whole
        log was read. For the next page, pass `next` as `after`, even if this page is empty.
        """
        query: AttemptQuery = call.query
        await self._lookup.find(call)
        page = await self._in_turn(call, lambda: self._search.attempts(call.id, query.after, query.limit))
        await self._lookup.find(call)  # the principal may have lost access
        return ApiAnswer(page.as_document())

    async def show_event(self, call: Call) -> ApiAnswer:
        """Show what became of an event, for one subscription or for all subscriptions that it was or is for.

        `fate` is delivered, waiting, dead-lettered, skipped, dropped (`why` is the rule), filtered (the event is not
        for the subscription), expired (the log no longer has entries about the event) or unknown (`why` is the reason).
        """
        query: FateQuery = call.query
        await self._lookup.catch_up()
        if query.subscription is not None and not self._sees(call.principal, query.subscription):
            raise unknown(query.subscription)
        fates = await self._in_turn(call, lambda: self._search.fate(call.path["webhookId"], query.subscription))
        seen = [each for each in fates if not call.principal.tenant or self._sees(call.principal, each.subscription)]
        return ApiAnswer({"items": [each.as_document() for each in seen]})

    def _sees(self, principal: Principal, subscription: str | None) -> bool:
        if not principal.tenant:
            return True  # even if the subscription was deleted
        return subscription is not None and principal.seen(self._registry.get(subscription)) is not None

    async def _in_turn(self, call: Call, work: Callable[[], Awaitable[Result]]) -> Result:
        try:
            async with self._turns.turn(call.principal), asyncio.timeout(SECONDS):
                return await work()
        except TimeoutError:
            raise BrokerError(f"the attempt log could not be read within {SECONDS:.0f} s") from None
