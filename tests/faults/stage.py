"""The stage of the faults: three brokers, workers, a receiver and a load; and the evidence of what happened."""

import asyncio
import itertools
import json
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiokafka.partitioner import DefaultPartitioner
from confluent_kafka import ElectionType
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # they are public; the module has no __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)

from pipeline.core.model import Status
from pipeline.core.subscription import Qos, Routing
from pipeline.subscriptions.edits import RESUME
from tests.faults.audience import Choice, Subscriber, audience_of, chosen
from tests.faults.evidence import Evidence, calls_of, events_of, letters_of
from tests.faults.ledger import Call, Event
from tests.faults.load import PER_SECOND, Load
from tests.support.brokers import TestBroker
from tests.support.cluster import INSTALLED, Cluster, cluster
from tests.support.program import clean_environment
from tests.support.waiting import eventually
from tests.support.worker import Worker

STARTER: Final = "WEBHOOKS_TEST_FAULTS_STARTER"
"""The variable with the path of the program that starts, stops and breaks brokers."""

PARTITIONS: Final = 8


def name_in(qos: Qos, partition: int) -> str:
    """The name of a subscription whose events are in *partition*. It ends with an odd number if *partition* is odd."""
    partitions = list(range(PARTITIONS))
    names = (f"{qos}-{number}" for number in itertools.count(partition % 2, 2))
    return next(name for name in names if DefaultPartitioner()(name.encode(), partitions, partitions) == partition)


SUBSCRIPTIONS: Final = {qos: [name_in(qos, partition) for partition in range(PARTITIONS)] for qos in Qos}
"""One subscription of every level in each partition, so that each fault affects all levels."""

LEVEL_OF: Final = {name: qos for qos, names in SUBSCRIPTIONS.items() for name in names}
RETRY: Final = {
    "retryStrategy": "LINEAR",
    "maxAttempts": 10_000,
    "initialDelaySeconds": 1,
    "maxDelaySeconds": 2,
    "jitter": "NONE",
}
"""Enough retries that no event is given up."""

HTTP: Final = {"connectTimeout": 2000, "readTimeout": 3000}
STUCK_SECONDS: Final = 120.0
"""Without progress for this long, the run is stuck."""


def starter() -> Path | None:
    """The program that starts brokers, or None."""
    named = os.environ.get(STARTER)
    path = Path(named) if named else Path(__file__).parents[2] / "../shared/kafka/kafka"
    return path.resolve() if path.exists() else None


class Brokers:
    """Three brokers in a directory, with the operations that break them."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program = program
        self.folder = folder
        self.bootstrap = ""

    def another(self, folder: Path) -> "Brokers":
        """Three other brokers in another directory, which are not started yet."""
        return Brokers(self._program, folder)

    async def start(self, count: int = 3) -> None:
        """Start the brokers. The directory keeps their data."""
        said = await self._run("start", "--brokers", str(count), "--port", "0")
        self.bootstrap = said.splitlines()[-1].strip()

    async def act(self, action: str, number: int) -> None:
        """`kill`, `pause`, `resume` or `restart` the broker with this number, from 1."""
        await self._run(action, str(number))

    async def mend(self) -> None:
        """Make all brokers run again, whatever happened to them. They start together, because one alone has no
        majority."""
        await self._run("start", "--brokers", str(len(self.ports)), "--port", "0")

    async def stop(self) -> None:
        """Stop the brokers and remove their data."""
        await self._run("stop", "--wipe")

    @property
    def ports(self) -> list[int]:
        """The ports of the brokers."""
        return [int(address.rpartition(":")[2]) for address in self.bootstrap.split(",")]

    async def _run(self, command: str, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            str(self._program), command, *arguments, "--dir", str(self.folder),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"{command} {arguments}: {err.decode()[-500:]}")
        return out.decode()


class Receiver:
    """A client of the receiver's process."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, log: Path) -> None:
        self._process = process
        self.port = port
        self.log = log

    async def behave(self, **mode: Any) -> None:
        """Change the mode (receiver.Receiver)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(mode).encode() + b"\n")
        await self._process.stdin.drain()
        assert await self._process.stdout.readline() == b"switched\n"

    def calls(self) -> list[Call]:
        """All calls that the receiver has logged."""
        return calls_of(self.log)


@asynccontextmanager
async def receiving(log: Path) -> AsyncIterator[Receiver]:
    """Run a receiver in a separate process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.receiver", str(log),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield Receiver(process, int(await process.stdout.readline()), log)
    finally:
        process.kill()
        await process.wait()


@dataclass
class Stage:
    """Everything that a fault can affect.

    Attributes:
        subscribers: the subscriptions, by name.
        with_tokens: the subscriptions authenticate with OAuth2 access tokens.
    """

    brokers: Brokers
    broker: TestBroker
    cluster: Cluster
    receiver: Receiver
    load: Load
    dlq_brokers: Brokers | None = None
    with_tokens: bool = False
    subscribers: dict[str, Subscriber] = field(default_factory=dict)

    @property
    def workers(self) -> list[Worker]:
        """The running workers."""
        return [worker for worker in self.cluster.workers if worker.is_running]

    @property
    def _dlq_broker(self) -> TestBroker:
        return self.broker if self.dlq_brokers is None else TestBroker(self.dlq_brokers.bootstrap)

    async def subscribe(self, name: str, level: Qos, choice: Choice) -> None:
        """Make a subscription whose callback is at the receiver."""
        await self.cluster.store.apply(self._document(name, level, choice))
        await self._note(name, level, choice)

    async def subscribe_load(self, routing: Routing) -> None:
        """Create the subscriptions of the load, using the build that the workers run."""
        choices = {name: chosen(routing, name) for name in LEVEL_OF}
        if self.cluster.programs == INSTALLED:
            for name, level in LEVEL_OF.items():
                await self.subscribe(name, level, choices[name])
            return
        documents = [self._document(name, level, choices[name]) for name, level in LEVEL_OF.items()]
        command = (str(self.cluster.programs / "webhooks"), "subscriptions", "apply", "-")
        process = await asyncio.create_subprocess_exec(
            *command, env=clean_environment(self.cluster.environment),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate(json.dumps(documents).encode())
        assert process.returncode == 0, said.decode()
        for name, level in LEVEL_OF.items():
            await self._note(name, level, choices[name])

    def _document(self, name: str, level: Qos, choice: Choice) -> dict[str, Any]:
        place = f"http://127.0.0.1:{self.receiver.port}"
        options: dict[str, Any] = {"callbackUrl": f"{place}/{name}", "retry": RETRY, "http": HTTP}
        if choice.filter is not None:
            options["filter"] = choice.filter
        if self.with_tokens:
            credentials = {"endpoint": f"{place}/token", "clientId": name, "clientSecret": "secret"}
            options["auth"] = {"type": "oauth2", "oauth2": credentials}
        configuration = {"entrypointId": "webhook-advanced", "entrypointConfiguration": options}
        return {"id": name, "configuration": configuration, "qos": level.value}

    async def _note(self, name: str, level: Qos, choice: Choice) -> None:
        made_at = time.time()
        starts = (await self.cluster.store.get(name)).get("start", {})
        offsets = {topic: start["offsets"] for topic, start in starts.items()}
        self.subscribers[name] = Subscriber(level, choice, offsets, made_at)

    async def leader_of(self, topic: str) -> int:
        """The number of the broker that leads the first partition of a topic."""
        admin = self._admin()
        metadata = await asyncio.to_thread(admin.list_topics, topic, 20)
        return int(metadata.topics[topic].partitions[0].leader)

    async def coordinator(self) -> int:
        """The number of the broker that coordinates the workers' group."""
        admin = self._admin()
        described = admin.describe_consumer_groups([self.cluster.app])[self.cluster.app]
        return int((await asyncio.to_thread(described.result, 20)).coordinator.id)

    async def elect_preferred(self) -> None:
        """Make the preferred brokers lead all partitions."""
        admin = self._admin()
        elected = admin.elect_leaders(ElectionType.PREFERRED, None)
        await asyncio.to_thread(elected.result, 20)

    async def demand_replicas(self, topic: str, count: int) -> None:
        """Make writes to *topic* need *count* replicas in sync. If the topic has fewer replicas, Kafka requires all."""
        change = ConfigEntry("min.insync.replicas", str(count), incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[change])
        admin = self._admin()
        for done in admin.incremental_alter_configs([resource]).values():
            await asyncio.to_thread(done.result, 20)

    async def until_in_sync(self, topic: str, count: int) -> None:
        """Return when every partition of *topic* has *count* replicas in sync."""
        admin = self._admin()
        counts: set[int] = set()

        async def are_in_sync() -> bool:
            metadata = await asyncio.to_thread(admin.list_topics, topic, 20)
            counts.clear()
            counts.update(len(each.isrs) for each in metadata.topics[topic].partitions.values())
            return counts == {count}

        await eventually(are_in_sync, within_seconds=30, says=lambda: f"{topic} has {counts} replicas in sync")

    def _admin(self) -> AdminClient:
        # Callers keep a reference to the client until the answer has arrived, because its requests end when it is
        # deleted.
        return AdminClient({"bootstrap.servers": self.brokers.bootstrap})

    async def resume_failed(self) -> None:
        """Resume every subscription in FAILURE, like an operator."""
        lanes = [lane for worker in self.workers for lane in await worker.lanes()]
        for name in {lane["subscription"] for lane in lanes if lane["status"] == "failure"}:
            await self.cluster.store.edit(name, RESUME)

    async def steady(self, seconds: float) -> None:
        """Let the load run for this time. Faults use this to choose when they begin and how long they last."""
        await asyncio.sleep(seconds)

    async def settle(self) -> None:
        """Return when everything has come to rest: all is committed, and no lane or cursor row has waiting events.

        The rows are read from their topic, like the next owner of a partition would read them. This takes long, so it
        is the last step.

        Raises:
            TimeoutError: something is stuck, which counts as a loss.
        """
        events = await self._events()
        ends = {(event.topic, event.partition): event.offset + 1 for event in events}
        ends_of_lanes = {event.lane: event.offset + 1 for event in events}
        state: dict[str, object] = {}
        places: dict[str, object] = {}

        async def is_settled() -> bool:
            committed = {
                (topic, partition): offset
                for topic in self.cluster.topics
                for partition, offset in (await self.broker.committed(self.cluster.app, topic)).items()
            }
            # In an added partition without events, the position is the beginning.
            state["committed"] = {place: offset for place, offset in committed.items() if offset}
            lanes = [lane for worker in self.workers for lane in await worker.lanes()]
            state["busy"] = [lane for lane in lanes if lane["waitingAtMost"] or lane["queued"] or lane["inFlight"]]
            state["failed"] = [lane for lane in lanes if lane["status"] != Status.STARTED]
            places["committed"] = committed
            places["lanes"] = [(lane["subscription"], lane["topic"], lane["partition"], lane["next"]) for lane in lanes]
            if state["committed"] != ends or state["busy"] or state["failed"]:
                return False
            state["rows"] = {
                (name, topic, partition): row
                for topic in self.cluster.topics
                for (partition, name), row in (await self.cluster.rows(topic)).items()
                if row.status is not Status.STARTED or row.next < ends_of_lanes.get((name, topic, partition), 0)
            }
            return not state["rows"]

        await eventually(
            is_settled, within_seconds=STUCK_SECONDS, says=lambda: f"{state} of {ends}", progress=lambda: str(places)
        )

    async def evidence(self) -> Evidence:
        """The evidence of what became of each event."""
        return Evidence(
            await self._events(),
            self.receiver.calls(),
            await letters_of(self._dlq_broker, f"{self.cluster.app}-dlq"),
        )

    async def _events(self) -> list[Event]:
        audience = audience_of(self.subscribers)
        return [event for topic in self.cluster.topics for event in await events_of(self.broker, topic, audience)]


@asynccontextmanager
async def staged(
    brokers: Brokers,
    folder: Path,
    *,
    workers: int = 2,
    routing: Routing = Routing.KEY,
    topics: int = 1,
    per_second: float | None = None,
    settings: Mapping[str, str] | None = None,
    with_tokens: bool = False,
    dlq_brokers: Brokers | None = None,
    programs: Path | None = None,
) -> AsyncIterator[Stage]:
    """Start workers that deliver to subscriptions of every level, and prepare a load.

    Args:
        brokers: running brokers.
        folder: the directory for files.
        workers: the number of workers.
        routing: the routing of the definition.
        topics: the number of source topics. All but the first have half as many partitions.
        per_second: the number of events per second; None: the default of the routing.
        settings: further WEBHOOKS_ settings, without the prefix.
        with_tokens: subscriptions authenticate with OAuth2 access tokens, which live for three seconds.
        dlq_brokers: the brokers of the dead-letter topic, if not *brokers*.
        programs: the directory of another build, which makes the subscriptions and runs the workers.
    """
    app = f"faults-{uuid.uuid4().hex[:8]}"
    broker = TestBroker(brokers.bootstrap)
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - nothing else is under way
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(receiving(folder / "calls.tsv"))
        found = await stack.enter_async_context(
            cluster(
                broker,
                app,
                folder,
                partitions=PARTITIONS,
                dlq=True,
                dlq_broker=None if dlq_brokers is None else TestBroker(dlq_brokers.bootstrap),
                settings=settings,
                routing=routing.value,
                others={f"{app}-events-{number}": PARTITIONS // 2 for number in range(2, topics + 1)},
                interruptConsumptionOnServerError=False,
                interruptConsumptionOnException=False,
            )
        )
        found.programs = programs or INSTALLED
        load = Load(broker, found.topics, list(LEVEL_OF), per_second or PER_SECOND[routing])
        stage = Stage(brokers, broker, found, receiver, load, dlq_brokers, with_tokens)
        await stage.subscribe_load(routing)
        for _ in range(workers):
            await found.start_worker()
        await found.until_ready()
        yield stage
