"""A hundred thousand subscriptions: the start of a worker, its memory, and how long its API and its pages take."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median
from typing import Final
from uuid import uuid4

from aiohttp import ClientError, ClientSession, ClientTimeout

from pipeline.core.model import Cause, Cursor, Standing, Status
from pipeline.kafka.row_format import encode
from tests.benchmarks.events import subscription_id
from tests.benchmarks.fan_out import EACH, of_type
from tests.benchmarks.processes import Child
from tests.benchmarks.procfs import cpu_seconds, memory
from tests.benchmarks.receiver import HOST
from tests.benchmarks.report import Section, mebibytes, milliseconds
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import Pipeline, Stage, free_port

TOKEN: Final = "of-the-benchmarks"
TIMES: Final = 9
READY_SECONDS: Final = 300.0
COLUMNS: Final = ("", "median", "slowest", "CPU")

QUESTIONS: Final = {
    "API: the first of the list": "/api/subscriptions?limit=100",
    "API: search": "/api/subscriptions?q=99&limit=100",
    "API: search, nothing found": "/api/subscriptions?q=nowhere&limit=100",
    "API: by state": "/api/subscriptions?state=failure&limit=100",
    "API: by metadata": "/api/subscriptions?metadata.tenant=t-7&limit=100",
    "API: groups of failures": "/api/failures",
    "API: totals and workers": "/api/cluster",
    "page: overview": "/",
    "page: list": "/subscriptions",
    "page: search": "/subscriptions?q=99",
    "page: one subscription": f"/subscription?id={subscription_id(7)}",
}


async def run(stage: Stage, scale: Scale) -> Section:
    """Measure a worker on an empty topic: first without failures, then with all subscriptions in FAILURE."""
    rows: list[tuple[str, ...]] = []
    for failing in (0, scale.registered):
        rows += await _looked_at(stage, scale.registered, failing)
    return Section(
        "Many subscriptions",
        f"{scale.registered:,} subscriptions with `routing: match`, of which each wants one type of events. From the "
        f"start of the process until it says that it is ready; each question {TIMES} times: time on the wall, and the "
        "worker's mean CPU time.",
        COLUMNS,
        rows,
    )


async def _looked_at(stage: Stage, count: int, failing: int) -> list[tuple[str, ...]]:
    topic = await stage.source()
    port = free_port()
    pipeline = Pipeline(
        app=f"bench-{uuid4().hex[:12]}",
        subscriptions=range(count),
        filter_of=of_type(max(1, count // EACH)),
        settings={"WEBHOOKS_WEB_PORT": str(port), "WEBHOOKS_ADMIN_TOKEN": TOKEN},
    )
    title = f"{failing:,} in FAILURE" if failing else "all is well"
    async with stage.receiver() as receiver:
        await stage.prepare(topic, receiver, pipeline)
        await stage.broker.produce(f"{pipeline.app}.cursors", *(_row(number) for number in range(failing)))
        began = time.monotonic()
        async with stage.start(pipeline) as worker, asking(port) as session:
            await worker.unless_it_ends(until_ready(session))
            taken = time.monotonic() - began
            peak, used = memory(worker.pid).peak_bytes, cpu_seconds(worker.pid)
            await worker.unless_it_ends(_known(session, count, failing))
            asked = [(f"{title}, {name}", *await _asked(worker, session, path)) for name, path in QUESTIONS.items()]
            latest = memory(worker.pid).peak_bytes
    return [
        (f"{title}: ready after", f"{taken:.1f} s", "", f"{used:.1f} s"),
        (f"{title}: most memory until then, and in the end", mebibytes(peak), mebibytes(latest), ""),
        *asked,
    ]


def _row(number: int) -> tuple[bytes, bytes]:
    """The row of a subscription in FAILURE, whose cause is not probed."""
    cause = Cause("rejected", f"the callback answered 400 after {number} ms", 0, 1_700_000_000.0 + number)
    standing = Standing(is_live=False, waiting_at_most=number % 90, waiting_is_exact=True, dispatched=0)
    return subscription_id(number).encode(), encode(
        Cursor(0, Status.FAILURE, cause, revision=number, standing=standing)
    )


@asynccontextmanager
async def asking(port: int) -> AsyncIterator[ClientSession]:
    """Open a session with the pages and the API of the worker at *port*."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with ClientSession(f"http://{HOST}:{port}", headers=headers, timeout=ClientTimeout()) as session:
        yield session


async def until_ready(session: ClientSession) -> None:
    """Wait until the worker reports that it is ready."""
    async with asyncio.timeout(READY_SECONDS):
        while True:
            try:
                async with session.get("/health/ready") as answer:
                    if answer.ok:
                        return
            except ClientError:
                pass
            await asyncio.sleep(0.05)


async def _known(session: ClientSession, count: int, failing: int) -> None:
    """Wait until the view knows all subscriptions and their states."""
    async with asyncio.timeout(READY_SECONDS):
        while True:
            async with session.get("/api/cluster") as answer:
                totals = (await answer.json())["totals"]
            if (totals["failure"], sum(totals.values())) == (failing, count):
                return
            await asyncio.sleep(0.5)


async def _asked(worker: Child, session: ClientSession, path: str) -> tuple[str, str, str]:
    took, before = [], cpu_seconds(worker.pid)
    for _ in range(TIMES):
        began = time.perf_counter()
        async with session.get(path) as answer:
            await worker.unless_it_ends(answer.read())
            answer.raise_for_status()
        took.append(time.perf_counter() - began)
    used = (cpu_seconds(worker.pid) - before) / TIMES
    return milliseconds(median(took)), milliseconds(max(took)), milliseconds(used)
