"""The cost of open pages: the overview and the list of subscriptions, refreshed like a browser does."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Final

from aiohttp import ClientSession, ClientTimeout

from tests.benchmarks.receiver import HOST, Stretch
from tests.benchmarks.report import Section
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import BODY_BYTES, SUBSCRIPTIONS, Pipeline, Stage, free_port

TOKEN: Final = "of-the-benchmarks"
PATHS: Final = ("/", "/subscriptions")
SCRIPT: Final = Path("pipeline/web/pages/templates/page.js")
LEAST_SECONDS: Final = int(re.findall(r"const LEAST_MS = (\d+);", SCRIPT.read_text("utf-8"))[0]) / 1000
"""The shortest time between two refreshes of a page, which is read from the page's script."""
COLUMNS: Final = ("pages", "runs", "deliveries/s", "ratio", "CPU us/delivery", "ratio", "refreshes")


class Pages:
    """Open pages. `refreshes` is the number of fetches of all pages."""

    def __init__(self) -> None:
        self.refreshes = 0

    async def look(self, session: ClientSession, path: str) -> None:
        """Open the page at *path*, and fetch it again whenever the stream reports a change."""
        await self._fetch(session, path)
        async with session.get("/api/stream") as stream:
            async for line in stream.content:
                if line.startswith(b"event: changed"):
                    await asyncio.sleep(LEAST_SECONDS)
                    await self._fetch(session, path)

    async def _fetch(self, session: ClientSession, path: str) -> None:
        async with session.get(path) as answer:
            await answer.read()
        self.refreshes += 1


@asynccontextmanager
async def _open_pages(port: int, paths: tuple[str, ...]) -> AsyncIterator[Pages]:
    pages = Pages()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    address = f"http://{HOST}:{port}"
    async with ClientSession(address, headers=headers, timeout=ClientTimeout(), raise_for_status=True) as session:
        looking = [asyncio.ensure_future(pages.look(session, path)) for path in paths]
        try:
            yield pages
            for each in looking:
                if each.done():
                    each.result()  # raises the error of a page that failed, because the result is then wrong
        finally:
            for each in looking:
                each.cancel()
            await asyncio.gather(*looking, return_exceptions=True)


async def run(stage: Stage, scale: Scale) -> Section:
    """Measure with no page, two, two, none and so on, from a topic that is full before the clock starts."""
    topic = await stage.filled(scale.events)
    without: list[Stretch] = []
    beside: list[Stretch] = []
    refreshes = 0
    for turn in range(scale.pairs):
        for is_open in (turn % 2 == 1, turn % 2 == 0):
            stretch, count = await _measured(stage, topic, scale.events, PATHS if is_open else ())
            (beside if is_open else without).append(stretch)
            refreshes += count
    rate = median(b.per_second / a.per_second for a, b in zip(without, beside, strict=True))
    cost = median(b.cpu_microseconds / a.cpu_microseconds for a, b in zip(without, beside, strict=True))
    return Section(
        "Open pages",
        f"{scale.events:,} events of {BODY_BYTES} B for {len(SUBSCRIPTIONS)} subscriptions, with no page open and with "
        f"{' and '.join(PATHS)} open at the worker that delivers; in turns. The ratios are medians of those of each "
        "turn; a browser's own CPU time is left out, because it has a machine of its own.",
        COLUMNS,
        [_row("none", without, 1.0, 1.0, 0), _row(str(len(PATHS)), beside, rate, cost, refreshes)],
        [
            f"with two pages open: {rate:.3f} x the deliveries/s, {cost:.3f} x the CPU of a delivery",
            f"deliveries/s without pages differ by up to {_spread(without):.1%} from one turn to the next",
        ],
    )


def _spread(runs: list[Stretch]) -> float:
    return max((abs(b.per_second / a.per_second - 1) for a, b in pairwise(runs)), default=0.0)


async def _measured(stage: Stage, topic: str, events: int, paths: tuple[str, ...]) -> tuple[Stretch, int]:
    port = free_port()
    pipeline = Pipeline(settings={"WEBHOOKS_WEB_PORT": str(port), "WEBHOOKS_ADMIN_TOKEN": TOKEN})
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(stage.receiver())
        worker = await stack.enter_async_context(stage.worker(topic, receiver, pipeline))
        await receiver.watch(worker, events)
        await worker.unless_it_ends(receiver.begun())
        pages = await stack.enter_async_context(_open_pages(port, paths))
        return await receiver.stretch(worker, events), pages.refreshes


def _row(name: str, runs: list[Stretch], rate: float, cost: float, refreshes: int) -> tuple[str, ...]:
    return (
        name,
        str(len(runs)),
        f"{median(each.per_second for each in runs):,.0f}",
        f"{rate:.3f}",
        f"{median(each.cpu_microseconds for each in runs):.1f}",
        f"{cost:.3f}",
        str(refreshes),
    )
