"""`webhooks top`: shows the workers, what they deliver, and the subscriptions with the most waiting events."""

import asyncio
import heapq
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click

from pipeline.cli.listing import WIDTH, age, as_rows, of_other_keys
from pipeline.cli.output import Format, as_json, as_table, output_option, redraw, say
from pipeline.cli.running import configured, end_cleanly_on_signals
from pipeline.cluster.session import opened_view
from pipeline.cluster.shown import shown_state, shown_worker
from pipeline.cluster.state import ALL_DEAD_LETTERED, State, StateFilter, SubscriptionState, WorkerState
from pipeline.cluster.view import ClusterView
from pipeline.core.clock import rfc3339

COLUMNS: Final = ("WORKER", "STATE", "PARTITIONS", "DELIVERED/S", "FAILED/S", "IN MEMORY", "IN FLIGHT", "UP")
IN_TROUBLE: Final = StateFilter(states=frozenset[State]({"broken", "failure", "unowned", "retrying", "behind"}))
REFUSED: Final = StateFilter(states=frozenset[State]({"live"}), causes=frozenset({ALL_DEAD_LETTERED}))
"""Subscriptions that are live, but whose receivers refuse all events."""
MOST_LOOKED_AT: Final = 5_000
"""How many subscriptions in trouble are examined to find those with the most waiting events."""
LEAST_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Top:
    """The content of the screen.

    Attributes:
        at: the time, Unix seconds.
        totals: the number of subscriptions in each state.
        subscriptions: the subscriptions in trouble, the most waiting events first.
        left: how many more subscriptions are in trouble.
        problems: sentences about what is unknown.
    """

    at: float
    workers: Sequence[WorkerState]
    totals: Mapping[State, int]
    subscriptions: Sequence[SubscriptionState]
    left: int
    problems: Sequence[str]

    def as_document(self) -> dict[str, Any]:
        """The content as JSON."""
        return {
            "at": rfc3339(self.at, "milliseconds"),
            "workers": [shown_worker(each) for each in self.workers],
            "deliveredPerSecond": round(sum(each.delivered_per_second for each in self._present), 2),
            "failedPerSecond": round(sum(each.failed_per_second for each in self._present), 2),
            "totals": dict(self.totals),
            "subscriptions": [{"id": each.id, **shown_state(each)} for each in self.subscriptions],
            "more": self.left,
            "problems": list(self.problems),
        }

    @property
    def _present(self) -> list[WorkerState]:
        return [each for each in self.workers if not each.is_gone]

    def as_text(self) -> str:
        """The content as text."""
        delivered = sum(each.delivered_per_second for each in self._present)
        failed = sum(each.failed_per_second for each in self._present)
        states = ", ".join(f"{count:,} {state}" for state, count in self.totals.items() if count) or "none"
        parts = [
            f"{rfc3339(self.at)}  {delivered:,.1f} delivered/s, {failed:,.1f} failed attempts/s",
            f"subscriptions: {states}",
            "",
            as_table(COLUMNS, [_row(each, self.at) for each in self.workers]),
        ]
        if self.subscriptions:
            parts += ["", as_rows(self.subscriptions, self.at)]
        if self.left:
            parts.append(f"and {self.left:,} more: webhooks subscriptions list")
        problems = [*self.problems, *self._problems_of_workers()]
        return "\n".join([*parts, *(["", *problems] if problems else [])])

    def _problems_of_workers(self) -> Iterator[str]:
        """Why workers are not ready, and their warnings. With JSON, each worker has them."""
        if not (self._present or self.problems):
            yield "no worker runs: start workers"
        for each in self._present:
            if not each.ready:
                yield f"worker {each.name} is not ready: {each.problem or 'it is starting'}"
            yield from (f"worker {each.name}: {warning}" for warning in each.warnings)


def _row(worker: WorkerState, now: float) -> tuple[object, ...]:
    if worker.is_gone:
        # Its last announcement is old: others own its partitions by now, and it makes no attempts.
        return (worker.name, "gone", *[None] * (len(COLUMNS) - 2))
    return (
        worker.name,
        "ready" if worker.ready else "not ready",
        len(worker.partitions),
        f"{worker.delivered_per_second:,.1f}",
        f"{worker.failed_per_second:,.1f}",
        worker.queued,
        worker.in_flight,
        age(now - worker.started_at),
    )


@click.command("top")
@click.option("--once", "is_once", is_flag=True, help="Show the state once, and exit.")
@click.option(
    "--every", "seconds", type=click.FloatRange(LEAST_SECONDS), default=2.0, show_default=True, metavar="SECONDS",
    help="The interval between updates.",
)  # fmt: skip
@click.option("-n", "--number", "most", type=click.IntRange(0), default=20, show_default=True, metavar="N",
              help="Show at most N subscriptions.")  # fmt: skip
@output_option
def command(*, is_once: bool, seconds: float, most: int, output: Format) -> None:
    """Watch the workers, what they deliver, and the subscriptions with the most waiting events.

    This command needs access to Kafka only. With --output json, each update is a line with a JSON object.
    """
    end_cleanly_on_signals()
    asyncio.run(_watch(most, output, None if is_once else seconds))


async def _watch(most: int, output: Format, seconds: float | None) -> None:
    async with opened_view(*configured()) as view:
        while True:
            _show(await find_top(view, most), output, is_live=seconds is not None)
            if seconds is None:
                return
            await asyncio.sleep(seconds)


def _show(top: Top, output: Format, *, is_live: bool) -> None:
    if output == "json":
        say(as_json(top.as_document(), indent=None if is_live else 2))
    elif is_live and sys.stdout.isatty():
        redraw("\n".join(top.as_text().splitlines()[: shutil.get_terminal_size((WIDTH, 1_000)).lines - 1]))
    else:
        say(top.as_text())


async def find_top(view: ClusterView, most: int) -> Top:
    """The current content, with at most *most* subscriptions."""
    pages = [await view.states(wanted, limit=MOST_LOOKED_AT) for wanted in (IN_TROUBLE, REFUSED)]
    found = [each for page in pages for each in page.items]
    first = heapq.nlargest(most, found, key=lambda each: each.waiting_at_most or 0)
    problems = filter(None, [*view.problems(), of_other_keys(each.problem for each in found)])
    left = sum(page.total for page in pages) - len(first)
    return Top(time.time(), view.workers(), await view.totals(), first, left, list(problems))
