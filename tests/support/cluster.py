"""A cluster like a user's: workers are processes of `webhooks worker`, on a broker of the tests."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from aiokafka import AIOKafkaProducer
from cryptography.fernet import Fernet

from pipeline.config.definition import Definition, parse_definition
from pipeline.core.model import Cursor
from pipeline.kafka.row_format import decode
from pipeline.kafka.row_keys import split_key
from pipeline.kafka.topics import attempts_topic, audit_topic, cursors_topic, events_topic, tokens_topic, workers_topic
from pipeline.runtime.topics import ensure_topics
from pipeline.subscriptions.registry import Registry
from pipeline.subscriptions.secrets import SecretBox
from pipeline.subscriptions.store import SubscriptionStore
from tests.support.brokers import TestBroker
from tests.support.definitions import definition_document
from tests.support.fork_server import EMBEDDED_WORKER, ForkedProcess, fork_server
from tests.support.free_ports import free_port
from tests.support.recorder import Recorder
from tests.support.waiting import eventually
from tests.support.worker import ADMIN_TOKEN, Worker

INSTALLED = Path(sys.executable).parent
"""The directory with the programs of this build."""
START_SECONDS = 120.0


@dataclass
class Cluster:
    """An application on a broker, with topics, subscriptions and workers.

    Attributes:
        programs: the directory of the `webhooks` program that runs workers.
    """

    broker: TestBroker
    app: str
    folder: Path
    partitions: int
    definition: Definition
    store: SubscriptionStore
    environment: dict[str, str]
    others: dict[str, int]
    programs: Path = INSTALLED
    workers: list[Worker] = field(default_factory=list)

    @property
    def topic(self) -> str:
        """The source topic; the first, if there are several."""
        return self.definition.source.topic

    @property
    def topics(self) -> tuple[str, ...]:
        """All source topics."""
        return self.topic, *self.others

    def redefine(self, others: Mapping[str, int], reset: str = "earliest") -> None:
        """Change the other source topics and `autoOffsetReset` for workers that are started later."""
        self.others = dict(others)
        path = Path(self.environment["WEBHOOKS_API"])
        document = json.loads(path.read_text())
        consumer = {"topics": [self.topic, *others], "autoOffsetReset": reset}
        endpoint = document["endpointGroups"][0]["endpoints"][0]
        endpoint["sharedConfigurationOverride"]["consumer"].update(consumer)
        path.write_text(json.dumps(document))

    async def start_worker(
        self,
        *,
        group: int | None = None,
        environment: Mapping[str, str] | None = None,
        program: str | None = None,
        **settings: str,
    ) -> Worker:
        """Start a worker process, without waiting until the worker is ready.

        Args:
            group: the id of the operating system's group that the process runs as.
            environment: further variables, unchanged.
            program: a module of this package that runs a changed worker.
            settings: further WEBHOOKS_ settings, without the prefix.
        """
        port = free_port()
        number = len(self.workers) + 1
        log = self.folder / f"worker-{number}.log"
        variables = os.environ | self.environment | dict(environment or {})
        variables |= {f"WEBHOOKS_{name.upper()}": text for name, text in settings.items()}
        variables |= {"WEBHOOKS_WEB_PORT": str(port), "WEBHOOKS_DATA_DIR": str(self.folder / f"data-{number}")}
        process: asyncio.subprocess.Process | ForkedProcess
        with log.open("wb") as output, TemporaryFile() as nothing:
            if program is None and self.broker.embedded and group is None and not environment:
                process = await fork_server(EMBEDDED_WORKER.name).start((), variables, nothing, output, output)
            else:
                process = await asyncio.create_subprocess_exec(
                    *self._command(program), env=variables, stdout=output, stderr=output, group=group
                )
        worker = Worker(process, port, log)
        self.workers.append(worker)
        return worker

    def _command(self, program: str | None) -> list[str]:
        if program is None and self.broker.embedded:
            program = EMBEDDED_WORKER.name
        if program is not None:
            return [sys.executable, str(Path(__file__).with_name(program))]
        return [str(self.programs / "webhooks"), "worker"]

    async def until_ready(self, *workers: Worker, within_seconds: float = START_SECONDS) -> None:
        """Return when the named workers, or else all workers, are ready and together own every partition.

        Raises:
            AssertionError: a worker has ended.
            TimeoutError: the workers are not ready in time.
        """
        wanted = workers or tuple(self.workers)
        await eventually(
            lambda: self._is_shared(wanted),
            within_seconds=within_seconds,
            says=lambda: "\n".join(worker.output()[-3000:] for worker in wanted),
        )

    async def _is_shared(self, workers: Iterable[Worker]) -> bool:
        owned: list[int] = []
        for worker in workers:
            assert worker.is_running, worker.output()[-3000:]
            if not await worker.is_ready():
                return False
            owned += await worker.partitions()
        counts = (self.partitions, *self.others.values())
        return sorted(owned) == sorted(number for count in counts for number in range(count))

    async def subscribe(self, recorder: Recorder, *ids: str, **fields: Any) -> None:
        """Apply subscriptions whose callbacks go to the recorder.

        Args:
            recorder: the receiver.
            ids: the ids of the subscriptions.
            fields: fields of the document, such as `qos`; `endpoint={...}` has fields of its entrypointConfiguration.
        """
        endpoint = fields.pop("endpoint", {})
        documents = []
        for each in ids:
            configuration = {"callbackUrl": recorder.url(each), **endpoint}
            webhook = {"entrypointId": "webhook-advanced", "entrypointConfiguration": configuration}
            documents.append({"id": each, "configuration": webhook, **fields})
        async for _ in self.store.apply_all(documents):
            pass

    async def produce(
        self, records: Iterable[tuple[str, bytes | None]], *, partition: int | None = None, topic: str | None = None
    ) -> int:
        """Append events (subscription, body) to a source topic, by default the first one. Returns their number."""
        producer = AIOKafkaProducer(acks="all", linger_ms=5, **self.broker.connection.client_options())
        count = 0
        try:
            await producer.start()
            sent = []
            for subscription, body in records:
                sent.append(await producer.send(topic or self.topic, body, subscription.encode(), partition=partition))
                count += 1
            await asyncio.gather(*sent)
        finally:
            await producer.stop()
        return count

    async def rows(self, topic: str | None = None) -> dict[tuple[int, str], Cursor]:
        """The current cursor rows of a source topic (None: the first topic), by partition and subscription."""
        rows: dict[tuple[int, str], Cursor] = {}
        for record in await self.broker.read(f"{self.app}.cursors", committed_only=not self.broker.embedded):
            found = split_key(record.key or b"", self.topics)
            if found is None or found[0] != (topic or self.topic):
                continue
            key = (record.partition, found[1].decode())
            if record.value is None:
                rows.pop(key, None)
            else:
                rows[key] = decode(record.value)
        return rows

    async def until_row(self, subscription: str, **fields: object) -> Cursor:
        """Wait until the subscription's row has these values, and return the row.

        Raises:
            TimeoutError: the row does not have these values in time.
        """
        found: list[Cursor] = []

        async def matches() -> bool:
            found[:] = [row for (_, name), row in (await self.rows()).items() if name == subscription]
            return any(all(getattr(row, key) == value for key, value in fields.items()) for row in found)

        await eventually(matches, within_seconds=30, says=lambda: f"{subscription} has no row with {fields}: {found}")
        return next(row for row in found if all(getattr(row, key) == value for key, value in fields.items()))

    async def close(self) -> None:
        """Kill every worker that is still running."""
        for worker in self.workers:
            await worker.kill()


@asynccontextmanager
async def cluster(
    broker: TestBroker,
    app: str,
    folder: Path,
    *,
    partitions: int = 4,
    qos: str = "at-least-once",
    dlq: bool = False,
    dlq_broker: TestBroker | None = None,
    settings: Mapping[str, str] | None = None,
    routing: str = "key",
    recovery: Mapping[str, Any] | None = None,
    others: Mapping[str, int] | None = None,
    **configuration: Any,
) -> AsyncIterator[Cluster]:
    """Make an application with its topics, for tests to add subscriptions and workers.

    Args:
        broker: the broker of the application.
        app: the name of the application, unique for each test.
        folder: the directory for its files.
        partitions: the number of partitions of the source topic.
        qos: the level of the entrypoint.
        dlq: whether there is a dead-letter topic, `<app>-dlq`.
        dlq_broker: the broker of the dead-letter topic, if it is not *broker*.
        settings: further WEBHOOKS_ settings, without the prefix.
        routing: the routing of the definition.
        recovery: `recovery` of the entrypoint; None: the defaults.
        others: further source topics with their numbers of partitions.
        configuration: `configuration` of the entrypoint.
    """
    topic, dead = f"{app}-events", f"{app}-dlq"
    document = definition_document(
        broker,
        topic,
        dlq=dead if dlq else None,
        dlq_broker=dlq_broker,
        entrypoint={"qos": qos, "routing": routing, **({} if recovery is None else {"recovery": recovery})},
        others=others or (),
        **configuration,
    )
    definition = parse_definition(document)
    for name, count in {topic: partitions, **(others or {})}.items():
        await broker.create_topic(name, count)
    if dlq:
        await (dlq_broker or broker).create_topic(dead, 1)
    if broker.embedded:
        await broker.create_topic(f"{app}.subscriptions", 1)
        await broker.create_topic(workers_topic(app), 1)
        await broker.create_topic(audit_topic(app), 1)
        await broker.create_topic(events_topic(app), 1)
        for name in (cursors_topic(app), tokens_topic(app), attempts_topic(app)):
            await broker.create_topic(name, partitions)
    else:
        problems = await ensure_topics(definition, app, [tokens_topic(app)])
        assert problems == [], problems
    path = folder / "api.json"
    path.write_text(json.dumps(document))
    key = Fernet.generate_key().decode()
    environment = {
        "WEBHOOKS_API": str(path),
        "WEBHOOKS_APP": app,
        "WEBHOOKS_SECRET_KEYS": key,
        "WEBHOOKS_ALLOW_PRIVATE_NETWORKS": "127.0.0.0/8",
        "WEBHOOKS_ADMIN_TOKEN": ADMIN_TOKEN,
        **{f"WEBHOOKS_{name}": text for name, text in (settings or {}).items()},
    }
    connection = broker.connection
    box = SecretBox([key])
    async with AsyncExitStack() as stack:
        registry = Registry(connection, f"{app}.subscriptions", box, definition)
        await registry.start()
        stack.push_async_callback(registry.stop)
        await registry.ready()
        store = SubscriptionStore(registry, connection, f"{app}.subscriptions", box, definition)
        await store.open()
        stack.push_async_callback(store.close)
        found = Cluster(broker, app, folder, partitions, definition, store, environment, dict(others or {}))
        stack.push_async_callback(found.close)
        yield found
