"""The operation on all subscriptions that match a filter."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus
from itertools import islice
from typing import Final

from pipeline.core.errors import BrokerError, BusyError, UnconfirmedError, WebhooksError
from pipeline.subscriptions.edits import PAUSE, RESUME, START, STOP, Change, Edit, going_on_from
from pipeline.subscriptions.store import SubscriptionStore, Tell
from pipeline.web.api.lookup import Lookup
from pipeline.web.api.models import Bulk, BulkChanged
from pipeline.web.api.operations import ApiAnswer, Call, Operation
from pipeline.web.api.states import View, as_needed, each_state, limited
from pipeline.web.api.subscriptions import PATH
from pipeline.web.api.writing import Writing
from pipeline.web.principal import Principal

TOGETHER: Final = 50
"""How many subscriptions are changed at a time, before deliveries and other changes get their turn."""
MOST_IDS: Final = 100
MOST_PROBLEMS: Final = 100

_EDITS: Final = {"pause": PAUSE, "resume": RESUME, "start": START, "stop": STOP}


@dataclass(slots=True)
class BulkOutcome:
    """The results so far.

    Attributes:
        changes: the new revisions.
        unchanged: the number of subscriptions that needed no change.
        unconfirmed: the number of subscriptions that may or may not have been changed.
        problems: for each subscription that was not changed, the reason.
    """

    changes: dict[str, int] = field(default_factory=dict)
    unchanged: int = 0
    unconfirmed: int = 0
    problems: list[dict[str, str]] = field(default_factory=list)
    told: set[str] = field(default_factory=set)

    def take(self, name: str, result: Change | WebhooksError) -> None:
        """Add the result of one subscription."""
        self.told.add(name)
        if isinstance(result, WebhooksError):
            self.unconfirmed += isinstance(result, UnconfirmedError)
            self.problems.append({"id": name, "problem": str(result)})
        elif result.what == "unchanged":
            self.unchanged += 1
        else:
            self.changes[name] = result.revision

    def break_off(self, error: WebhooksError, batch: Iterable[str], wanted: Iterable[str]) -> None:
        """Add the error of *batch*, and the later subscriptions, which were not reached."""
        if isinstance(error, UnconfirmedError):
            for name in set(batch) - self.told:
                self.take(name, error)
        left = [name for name in wanted if name not in self.told]
        if left:
            first = {"id": left[0], "problem": f"{error}; {len(left)} subscriptions were not reached"}
            self.problems.insert(0, first)


class BulkOperations:
    """The operation that changes many subscriptions.

    Args:
        lookup: knows the newest subscriptions.
        writing: makes changes.
    """

    def __init__(self, lookup: Lookup, view: View, writing: Writing) -> None:
        self._lookup = lookup
        self._view = view
        self._writing = writing

    def operations(self) -> Sequence[Operation]:
        """The operation with its path."""
        ok = HTTPStatus.OK
        return (
            Operation(
                "POST",
                f"{PATH}/_bulk",
                self.change_subscriptions,
                {ok: BulkChanged},
                body=Bulk,
                scope="write",
                is_body_recorded=True,
            ),
        )

    async def change_subscriptions(self, call: Call) -> ApiAnswer:
        """Pause, resume, start, stop or replay all subscriptions that match a filter.

        The subscriptions are first found and then changed one by one. With `dryRun`, nothing is changed. `problems`
        lists subscriptions that can't be changed; all others are changed. `waitingAtMost` is an upper bound of the
        events that waited for all matching subscriptions before; null if it is unknown for one of them.
        """
        bulk: Bulk = call.body
        edit = replace(_edit(bulk), seen=call.principal.seen)
        wanted = limited(bulk.filter.as_filter(), call.principal)
        ends_failure = bulk.action in {"resume", "start"}
        found: dict[str, Edit] = {}
        waiting: list[int | None] = []
        await self._lookup.catch_up()
        async with self._lookup.turns.turn(call.principal):
            async for state in each_state(self._view, wanted):
                found[state.id] = as_needed(edit, self._view, state.id) if ends_failure else edit
                waiting.append(state.waiting_at_most)
        outcome = BulkOutcome() if bulk.dry_run else await self._change(found, call.principal)
        return ApiAnswer(
            {
                "matched": len(found),
                "ids": [*islice(found, MOST_IDS)],
                "waitingAtMost": None if None in waiting else sum(filter(None, waiting)),
                "dryRun": bulk.dry_run,
                "changed": len(outcome.changes),
                "unchanged": outcome.unchanged,
                "unconfirmed": outcome.unconfirmed,
                "problems": outcome.problems[:MOST_PROBLEMS],
            },
            changes=outcome.changes,
        )

    async def _change(self, wanted: Mapping[str, Edit], principal: Principal) -> BulkOutcome:
        outcome = BulkOutcome()
        names = [*wanted]
        for start in range(0, len(names), TOGETHER):
            batch = {name: wanted[name] for name in names[start : start + TOGETHER]}
            try:
                await self._writing.change(principal, partial(_edit_all, batch, outcome.take))
            except (BrokerError, BusyError) as error:
                outcome.break_off(error, batch, wanted)
                break
            await asyncio.sleep(0)
        return outcome


async def _edit_all(batch: Mapping[str, Edit], tell: Tell, store: SubscriptionStore) -> None:
    await store.edit_all(batch, tell)


def _edit(bulk: Bulk) -> Edit:
    if bulk.action == "replay":
        return going_on_from({"timestamp": bulk.timestamp, "discardWaiting": bulk.discard_waiting or None})
    return _EDITS[bulk.action]
