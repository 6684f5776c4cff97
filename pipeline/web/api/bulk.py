"""The operation on all subscriptions of a filter."""

import asyncio
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from pipeline.core.errors import BrokerError, WebhooksError
from pipeline.subscriptions.edits import PAUSE, RESUME, START, STOP, Edit, going_on_from
from pipeline.web.api.lookup import Lookup
from pipeline.web.api.models import Bulk, BulkChanged
from pipeline.web.api.operations import Answer, Call, Operation
from pipeline.web.api.states import View, each_state, limited
from pipeline.web.api.subscriptions import PATH
from pipeline.web.api.writing import Writing

TOGETHER: Final = 50
"""Changes per turn: deliveries and other changes have theirs in between."""
MOST_IDS: Final = 100
MOST_PROBLEMS: Final = 100

_EDITS: Final = {"pause": PAUSE, "resume": RESUME, "start": START, "stop": STOP}


class BulkOperations:
    """The operation.

    Args:
        lookup: knows the newest ones.
        view: finds the subscriptions.
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

    async def change_subscriptions(self, call: Call) -> Answer:
        """Pause, resume, start, stop or replay all subscriptions of a filter.

        They are found first, and then changed by id. With `dryRun`, nothing is changed. One that can't be changed is
        among the `problems` and keeps no other from it. `waitingAtMost` events wait for all of them before.
        """
        bulk: Bulk = call.body
        edit = _edit(bulk)
        wanted = limited(bulk.filter.as_filter(), call.principal)
        found, waiting = [], 0
        await self._lookup.catch_up()
        async for state in each_state(self._view, wanted):
            found.append(state.id)
            waiting += state.waiting_at_most or 0
        answer = {"matched": len(found), "ids": found[:MOST_IDS], "waitingAtMost": waiting, "dryRun": bulk.dry_run}
        if bulk.dry_run:
            return Answer({**answer, "changed": 0, "unchanged": 0, "problems": []})
        changes, unchanged, problems = await self._change(found, edit)
        counts = {"changed": len(changes), "unchanged": unchanged, "problems": problems}
        return Answer({**answer, **counts}, changes=changes)

    async def _change(self, ids: Sequence[str], edit: Edit) -> tuple[dict[str, int], int, list[dict[str, Any]]]:
        changes: dict[str, int] = {}
        unchanged, problems = 0, []
        for start in range(0, len(ids), TOGETHER):
            batch = ids[start : start + TOGETHER]
            try:
                results = await self._writing.change(partial(_edit_all, batch, edit))
            except BrokerError as error:
                left = len(ids) - start
                problems.append({"id": batch[0], "problem": f"{error}; {left} subscriptions were not reached"})
                break
            for name, result in zip(batch, results, strict=True):
                if isinstance(result, WebhooksError):
                    problems.append({"id": name, "problem": str(result)})
                elif result.what == "unchanged":
                    unchanged += 1
                else:
                    changes[name] = result.revision
            await asyncio.sleep(0)
        return changes, unchanged, problems[:MOST_PROBLEMS]


async def _edit_all(ids: Sequence[str], edit: Edit, store: Any) -> Sequence[Any]:
    results: Sequence[Any] = await store.edit_all(ids, edit)
    return results


def _edit(bulk: Bulk) -> Edit:
    if bulk.action == "replay":
        return going_on_from({"timestamp": bulk.timestamp, "discardWaiting": bulk.discard_waiting or None})
    return _EDITS[bulk.action]
