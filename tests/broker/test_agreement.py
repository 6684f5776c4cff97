"""Three workers, a thousand subscriptions, load: pages, API and commands show the truth on every worker.

The truth is what the receiver got and answered, and the rows. The tests print (`pytest -s`) the time until everything
agrees with the truth. This time is not asserted, because it depends on the load of the machine.
"""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from html import unescape
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import pytest

from pipeline.core.model import Status
from pipeline.web.pages.formats import waiting
from pipeline.web.pages.view import LOOKS
from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.program import Webhooks
from tests.support.recorder import Behaviour, Recorder, answer
from tests.support.waiting import eventually
from tests.support.worker import Worker

pytestmark = pytest.mark.timeout(420)

T = TypeVar("T")

PATIENT = {"SESSION_SECONDS": "40"}
"""A long session timeout: no worker crashes here, and on a slow machine a worker may send no heartbeat for some
time."""
NO_RETRY = {"retry": {"retryOption": "No Retry"}}
RETRY_LATE = {
    "retry": {"retryOption": "Retry On Fail", "initialDelaySeconds": 3600, "maxDelaySeconds": 3600, "maxAttempts": 9}
}
NAMES = [f"sub-{number:04}" for number in range(1000)]
REJECTED, REJECTED_LATER, RETRIED, PAUSED, HEALTHY = (
    NAMES[:80],
    NAMES[80:130],
    NAMES[130:160],
    NAMES[160:200],
    NAMES[200:],
)
NAME_OF = {look.name: state for state, look in LOOKS.items()}
SLOW_SECONDS = 120.0

Told = dict[str, tuple[str, str]]
"""The state and the number of waiting events of each subscription that is not live: "3", "up to 5" or "unknown"."""


@pytest.fixture
async def found(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, recorder: Recorder
) -> AsyncIterator[Cluster]:
    """Three workers, and a thousand subscriptions."""
    async with cluster(
        kafka, unique_name("agreed"), tmp_path, partitions=6, recovery={"probe": False}, settings=PATIENT
    ) as found:
        await found.subscribe(recorder, *REJECTED, *REJECTED_LATER, *HEALTHY, endpoint=NO_RETRY)
        await found.subscribe(recorder, *RETRIED, endpoint=RETRY_LATE)
        await found.subscribe(recorder, *PAUSED, status="PAUSED")
        for _ in range(3):
            await found.start_worker()
        await found.until_ready(within_seconds=SLOW_SECONDS)
        yield found


class Load:
    """Events for all subscriptions, in rounds. A round begins when the healthy subscriptions have got the previous one.

    Attributes:
        rounds: the number of produced rounds.
    """

    def __init__(self, found: Cluster, recorder: Recorder) -> None:
        self._found = found
        self._recorder = recorder
        self._counted = 0
        self._healthy = frozenset(HEALTHY)
        self._taken_by_healthy = 0
        self._refused_from: dict[str, int] = {}
        self.rounds = 0

    async def round(self) -> None:
        """Produce an event for each subscription."""
        self.rounds += 1
        await self._found.produce([(name, b"%d" % self.rounds) for name in NAMES])
        await self._recorder.until(self._has_arrived, within_seconds=SLOW_SECONDS)

    def _has_arrived(self) -> bool:
        new, self._counted = self._recorder.calls[self._counted :], len(self._recorder.calls)
        self._taken_by_healthy += sum(call.subscription in self._healthy for call in new)
        return self._taken_by_healthy >= self.rounds * len(HEALTHY)

    async def refuse(self, names: list[str], behave: Behaviour) -> None:
        """From now on, answer these subscriptions with *behave*. Returns when each of them has got such an answer."""
        place = len(self._recorder.calls)
        self._refused_from |= dict.fromkeys(names, place)
        self._recorder.behaviours |= dict.fromkeys(names, behave)
        left = {*names}

        def all_refused() -> bool:
            nonlocal place
            left.difference_update(call.subscription for call in self._recorder.calls[place:])
            place = len(self._recorder.calls)
            return not left

        await self._recorder.until(all_refused, within_seconds=SLOW_SECONDS)

    def owed(self) -> dict[str, int]:
        """How many events of each subscription the receiver has not accepted."""
        taken = {
            (call.subscription, call.webhook_id)
            for place, call in enumerate(self._recorder.calls)
            if place < self._refused_from.get(call.subscription, place + 1)
        }
        counts = Counter(name for name, _ in taken)
        return {name: self.rounds - counts[name] for name in NAMES}

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Produce round after round during the block. The last round is completed."""
        is_over = asyncio.Event()

        async def go_on() -> None:
            while not is_over.is_set():
                await self.round()

        task = asyncio.create_task(go_on())
        try:
            yield
        finally:
            is_over.set()
            await task


async def by_api(worker: Worker) -> Told:
    told: Told = {}
    after = ""
    while after is not None:
        found = await worker.get(f"/api/subscriptions?limit=500{after and f'&after={quote(after)}'}")
        if found is None:
            return {}
        for each in found["items"]:
            state, exact, most = (each["delivery"][name] for name in ("state", "waiting", "waitingAtMost"))
            told[each["id"]] = (state, waiting(exact, most))
        after = found["next"]
    assert len(told) == len(NAMES)
    return {name: said for name, said in told.items() if said != ("live", "0")}


ROW = re.compile(
    r'<a href="/subscription\?id=[^"]*">([^<]*)</a>.*?class="state [^"]*">([^<]*)<.*?data-name="Waiting"[^>]*>([^<]*)<',
    re.DOTALL,
)


async def by_page(worker: Worker) -> Told:
    told: Told = {}
    path: str | None = "/subscriptions"
    while path is not None:
        text = await worker.text(path)
        for name, state, count in ROW.findall(text):
            told[unescape(name)] = (NAME_OF[unescape(state)], count.strip())
        next_page = re.search(r'rel="next" href="([^"]*)"', text)
        path = None if next_page is None else unescape(next_page[1])
    return {name: said for name, said in told.items() if said != ("live", "0")}


async def until_told(what: str, ask: Callable[[], Awaitable[T]], left: Callable[[T], object], since: float) -> None:
    """Wait until *left* finds no differences in the result of *ask*, and print how long that took."""
    wrong: list[object] = []

    async def is_so() -> bool:
        wrong[:] = [left(await ask())]
        return not wrong[0]

    await eventually(is_so, within_seconds=SLOW_SECONDS, says=lambda: f"{what}: {wrong}")
    print(f"{what}: {time.monotonic() - since:.1f} s after the truth")


def untrue(truth: dict[str, tuple[str, int]], told: Told) -> dict[str, object]:
    """Where *told* differs from *truth*. If a partition has a new owner, a number in *told* may be an upper bound."""
    wrong: dict[str, object] = {name: said for name, said in told.items() if name not in truth}
    for name, (state, count) in truth.items():
        said, number = told.get(name, ("live", "0"))
        most = re.fullmatch(r"up to ([\d,]+)", number)
        is_bound = number == "unknown" or (most is not None and int(most[1].replace(",", "")) >= count)
        if said != state or not (number == f"{count:,}" or is_bound):
            wrong[name] = (said, number, "and not", state, count)
    return wrong


async def totals(worker: Worker) -> tuple[int, ...]:
    found = (await worker.get("/api/cluster"))["totals"]
    return found["failure"], found["retrying"], found["paused"]


async def tiles(worker: Worker) -> tuple[int, ...]:
    text = await worker.text("/")
    found = dict(re.findall(r'id="tile-(\w+)"[^>]*><b>([\d,]+)</b>', text))
    return tuple(int(found.get(state, "0").replace(",", "")) for state in ("failure", "retrying", "paused"))


async def listed(webhooks: Webhooks, *states: str) -> list[str]:
    wanted = [part for state in states for part in ("--state", state)]
    return sorted(
        each["id"] for each in json.loads(await webhooks.done("subscriptions", "list", *wanted, "-o", "json"))
    )


async def test_pages_api_and_commands_show_the_truth(found: Cluster, recorder: Recorder) -> None:
    load, webhooks = Load(found, recorder), Webhooks(found.environment)
    await load.round()
    async with load.going_on():
        await load.refuse([*REJECTED], answer(400))
        await agree(found, (len(REJECTED), 0, len(PAUSED)))
        await load.refuse([*RETRIED], answer(503))
        await load.refuse([*REJECTED_LATER], answer(400))
        await agree(found, (len(REJECTED + REJECTED_LATER), len(RETRIED), len(PAUSED)))
    ended = time.monotonic()

    owed = load.owed()
    assert {name for name, count in owed.items() if count} == {*REJECTED, *REJECTED_LATER, *RETRIED, *PAUSED}
    states = {**dict.fromkeys(REJECTED + REJECTED_LATER, "failure"), **dict.fromkeys(RETRIED, "retrying")}
    states |= dict.fromkeys(PAUSED, "paused")
    truth = {name: (state, owed[name]) for name, state in states.items()}
    await all_tell(found, {"API": by_api, "page": by_page}, partial(untrue, truth), ended)
    for state in ("failure", "retrying", "paused"):
        assert await listed(webhooks, state) == sorted(name for name in states if states[name] == state)
    rows = {name for (_, name), row in (await found.rows()).items() if row.status is Status.FAILURE}
    assert rows == {*REJECTED, *REJECTED_LATER}


async def agree(found: Cluster, truth: tuple[int, int, int]) -> None:
    """Wait until every worker shows the truth on its page and in its API, while events are produced."""
    asked = {"API under load": totals, "page under load": tiles}
    await all_tell(found, asked, lambda told: None if told == truth else told, time.monotonic())


async def all_tell(
    found: Cluster, kinds: Mapping[str, Callable[[Worker], Awaitable[T]]], left: Callable[[T], object], since: float
) -> None:
    """Wait until every worker shows the truth in every kind of output of *kinds*. All are checked concurrently."""
    async with asyncio.TaskGroup() as tasks:
        for number, worker in enumerate(found.workers):
            for kind, ask in kinds.items():
                tasks.create_task(until_told(f"{kind}, worker {number}", partial(ask, worker), left, since))
