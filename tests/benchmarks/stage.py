"""The stage of the benchmarks: makes topics, and starts receivers, workers and the bare loop."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

from aiokafka.admin import AIOKafkaAdminClient
from cryptography.fernet import Fernet

from tests.benchmarks.events import fill, in_turn, subscription_id
from tests.benchmarks.processes import Child, running
from tests.benchmarks.receiver import HOST, Receiver, receiving
from tests.support.brokers import TestBroker

PARTITIONS: Final = 8
SUBSCRIPTIONS: Final = range(100)
BODY_BYTES: Final = 200
IN_FLIGHT: Final = 64
"""The number of requests that the bare loop sends at a time."""
COMPACTED: Final = {"cleanup.policy": "compact"}
PATIENT: Final = {"maxAttempts": 10_000, "initialDelaySeconds": 1, "maxDelaySeconds": 2}
"""A retry policy whose retries do not end within a benchmark."""

Start = Callable[[str, Receiver], AbstractAsyncContextManager[Child]]
"""Starts a sender that reads a topic and sends to a receiver."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The configuration of a worker.

    Attributes:
        qos: the level of all subscriptions.
        settings: further settings, by the names of their environment variables.
        read_timeout_ms: the longest time that an answer may take.
        subscriptions: the numbers of the subscriptions.
        elsewhere: the URLs of the subscriptions that do not call the receiver, by number.
        app: the name of the application, which is also its consumer group and the prefix of its topics.
        filter_of: returns the filter of the subscription with a number (`routing: match`); None: `routing: key`.
    """

    qos: str = "at-least-once"
    settings: dict[str, str] = field(default_factory=dict)
    read_timeout_ms: int = 10_000
    subscriptions: range = SUBSCRIPTIONS
    elsewhere: Mapping[int, str] = field(default_factory=dict)
    app: str = field(default_factory=lambda: f"bench-{uuid4().hex[:12]}")
    filter_of: Callable[[int], dict[str, Any] | None] | None = None


class Stage:
    """Makes topics and starts processes. An async context manager, which deletes the topics at its end.

    Args:
        broker: a real Kafka.
        folder: the directory for logs and definitions.
    """

    def __init__(self, broker: TestBroker, folder: Path) -> None:
        self.broker = broker
        self._folder = folder
        self._topics: list[str] = []
        self._logs = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.broker.bootstrap)
        try:
            await admin.start()
            await admin.delete_topics(self._topics)
        finally:
            await admin.close()

    async def _topic(self, name: str, partitions: int, config: dict[str, str] | None = None) -> str:
        self._topics.append(name)
        return await self.broker.create_topic(name, partitions, config)

    async def source(self, partitions: int = PARTITIONS) -> str:
        """Create an empty source topic, and return its name."""
        return await self._topic(f"bench-{uuid4().hex[:12]}-events", partitions)

    async def filled(self, events: int, numbers: Iterable[int] = SUBSCRIPTIONS) -> str:
        """Create a source topic with *events* events for the subscriptions *numbers* in turn, and return its name."""
        topic = await self.source()
        await fill(self.broker, topic, islice(in_turn(numbers), events), BODY_BYTES)
        return topic

    def receiver(self) -> AbstractAsyncContextManager[Receiver]:
        """Run a new receiver."""
        return receiving(self.log("receiver"))

    def log(self, who: str) -> Path:
        """The path of a new file for the output of a process."""
        self._logs += 1
        return self._folder / f"{self._logs}-{who}.log"

    def pipeline(self, **options: Any) -> Start:
        """Return a function that starts a worker with the configuration `Pipeline(**options)`."""
        return lambda topic, receiver: self.worker(topic, receiver, Pipeline(**options))

    def bare_loop(self, topic: str, receiver: Receiver) -> AbstractAsyncContextManager[Child]:
        """Run the bare loop, which sends *topic* from its beginning to *receiver*."""
        group = f"bench-{uuid4().hex[:12]}"
        arguments = (self.broker.bootstrap, topic, group, receiver.url, str(IN_FLIGHT))
        return running("tests.benchmarks.bare_loop", *arguments, log=self.log("bare-loop"))

    def bare_lanes(self, topic: str, receiver: Receiver) -> AbstractAsyncContextManager[Child]:
        """Run the bare lanes, which send *topic* from its beginning to *receiver*."""
        group = f"bench-{uuid4().hex[:12]}"
        arguments = (self.broker.bootstrap, topic, group, receiver.url)
        return running("tests.benchmarks.bare_lanes", *arguments, log=self.log("bare-lanes"))

    @asynccontextmanager
    async def worker(self, topic: str, receiver: Receiver, pipeline: Pipeline | None = None) -> AsyncIterator[Child]:
        """Run one worker, which delivers *topic* from its beginning to *receiver*."""
        pipeline = pipeline or Pipeline()
        await self.prepare(topic, receiver, pipeline)
        async with self.start(pipeline) as child:
            yield child

    async def prepare(self, topic: str, receiver: Receiver, pipeline: Pipeline, partitions: int = PARTITIONS) -> None:
        """Make the topics, subscriptions and definition with which *pipeline* delivers *topic* to *receiver*."""
        app = pipeline.app
        await asyncio.gather(
            self._topic(f"{app}.subscriptions", 1, COMPACTED),
            self._topic(f"{app}.cursors", partitions, COMPACTED),
            self._topic(f"{app}-tokens-changelog", partitions, COMPACTED),
            self._topic(f"{app}.attempts", PARTITIONS),
        )
        urls = dict.fromkeys(pipeline.subscriptions, receiver.url) | dict(pipeline.elsewhere)
        filter_of = pipeline.filter_of or _no_filter
        records = [_subscription(number, url, filter_of(number)) for number, url in urls.items()]
        await self.broker.produce(f"{app}.subscriptions", *records)
        self._definition_of(pipeline).write_text(
            json.dumps(_definition(self.broker.bootstrap, topic, pipeline)), "utf-8"
        )

    def _definition_of(self, pipeline: Pipeline) -> Path:
        return self._folder / f"{pipeline.app}.json"

    def start(self, pipeline: Pipeline) -> AbstractAsyncContextManager[Child]:
        """Run one more worker of *pipeline*, after `prepare`."""
        environment = {
            "WEBHOOKS_API": str(self._definition_of(pipeline)),
            "WEBHOOKS_APP": pipeline.app,
            "WEBHOOKS_SECRET_KEYS": Fernet.generate_key().decode(),
            "WEBHOOKS_ALLOW_PRIVATE_NETWORKS": "127.0.0.0/8",
            "WEBHOOKS_DATA_DIR": str(self._folder / pipeline.app),
            "WEBHOOKS_WEB_PORT": str(free_port()),
            **pipeline.settings,
        }
        module = "tests.benchmarks.worker_process"
        return running(module, "worker", log=self.log("worker"), environment=environment)


def free_port() -> int:
    """A port on which no process listens now. The worker's web server can't choose a port by itself."""
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


def _no_filter(_number: int) -> None:
    """Return None, the filter of a subscription with `routing: key`."""


def _subscription(number: int, url: str, wanted: dict[str, Any] | None) -> tuple[bytes, bytes]:
    """The key and the value of a record of the subscriptions' topic."""
    name = subscription_id(number)
    callback = {"callbackUrl": f"{url}/{name}", "retry": PATIENT, "filter": wanted}
    document = {
        "id": name,
        "configuration": {"entrypointId": "webhook-advanced", "entrypointConfiguration": callback},
    }
    return name.encode(), json.dumps(document).encode()


def _definition(bootstrap: str, topic: str, pipeline: Pipeline) -> dict[str, Any]:
    entrypoint = {
        "type": "webhook-advanced",
        "routing": "key" if pipeline.filter_of is None else "match",
        "qos": pipeline.qos,
        "configuration": {"http": {"readTimeout": pipeline.read_timeout_ms}},
    }
    source = {
        "name": "default",
        "type": "kafka",
        "configuration": {"bootstrapServers": bootstrap},
        "sharedConfigurationOverride": {
            "consumer": {"enabled": True, "topics": [topic], "autoOffsetReset": "earliest"},
        },
    }
    return {
        "name": "benchmarks",
        "listeners": [{"type": "subscription", "entrypoints": [entrypoint]}],
        "endpointGroups": [{"name": "source", "type": "kafka", "endpoints": [source]}],
    }
