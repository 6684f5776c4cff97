"""The registry and the store on brokers: commands become revisions, which every worker follows."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from cryptography.fernet import Fernet

from pipeline.config.definition import Definition
from pipeline.core.errors import BrokerError, ConfigurationError, ConflictError, UnknownSubscriptionError
from pipeline.core.redaction import MASKED_FIELD
from pipeline.core.subscription import (
    BasicAuth,
    Command,
    DesiredStatus,
    ReplayOffset,
    ReplayTimestamp,
    Routing,
    Skip,
    Subscription,
)
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.topics import Source
from pipeline.subscriptions import record_reader, store
from pipeline.subscriptions.edits import PAUSE, RESUME, START, STOP, going_on_from
from pipeline.subscriptions.registry import Registry
from pipeline.subscriptions.resolve import to_subscription
from pipeline.subscriptions.schema import WireSubscription
from pipeline.subscriptions.secrets import SecretBox
from pipeline.subscriptions.store import SubscriptionStore
from pipeline.subscriptions.writer import SubscriptionWriter
from tests.support.batches import Written, batch
from tests.support.brokers import TestBroker
from tests.support.unsound import unsound_rsa_key

KEY = Fernet.generate_key().decode()
WITHIN_SECONDS = 15.0
STORES = Path(__file__).parents[1] / "keystores"


def document(name: str = "s", **more: Any) -> dict[str, Any]:
    auth = {"type": "basic", "basic": {"username": "u", "password": "hunter2"}}
    return {"id": name, "configuration": {"callbackUrl": "https://example.com", "auth": auth}} | more


@dataclass
class Worker:
    """A registry and a store, as in a worker process, and the changes that the registry has reported."""

    registry: Registry
    store: SubscriptionStore
    changes: list[tuple[str, Subscription | None]] = field(default_factory=list)


@dataclass
class Cluster:
    """A broker with a topic of subscriptions."""

    broker: TestBroker
    topic: str

    @property
    def connection(self) -> KafkaConnection:
        return KafkaConnection((self.broker.bootstrap,), embedded=self.broker.embedded)

    @asynccontextmanager
    async def worker(self, *keys: str) -> AsyncIterator[Worker]:
        definition = Definition("orders", Source(self.connection, "events"), stated_routing=Routing.KEY)
        box = SecretBox(keys or (KEY,))
        changes: list[tuple[str, Subscription | None]] = []
        registry = Registry(self.connection, self.topic, box, definition)
        store = SubscriptionStore(registry, self.connection, self.topic, box, definition)
        await registry.start(lambda name, found: changes.append((name, found)))
        await store.open()
        try:
            yield Worker(registry, store, changes)
        finally:
            await store.close()
            await registry.stop()


@pytest.fixture
async def cluster(broker: TestBroker, unique_name: Callable[[str], str]) -> Cluster:
    topic = await broker.create_topic(unique_name("subscriptions"), 1, {"cleanup.policy": "compact"})
    return Cluster(broker, topic)


async def test_the_registry_of_an_empty_topic_is_ready_at_once(cluster: Cluster) -> None:
    async with cluster.worker() as worker, asyncio.timeout(WITHIN_SECONDS):
        await worker.registry.ready()
        assert worker.registry.is_current
        assert worker.registry.last_error is None
        assert worker.registry.all() == []
        assert worker.registry.get("s") is None


async def test_every_worker_gets_an_applied_revision(cluster: Cluster) -> None:
    async with cluster.worker() as one, cluster.worker() as other, asyncio.timeout(WITHIN_SECONDS):
        first = await one.store.apply(document("a"))
        second = await one.store.apply(document("b"))
        assert (first.revision, first.what) == (0, "created")
        assert (second.revision, second.what) == (1, "created")
        await other.registry.caught_up()
        assert [name for name, _ in other.changes] == ["a", "b"]
        found = other.registry.get("b")
        assert found is not None
        assert (found.revision, found.auth) == (1, BasicAuth("u", "hunter2"))
        assert [each.id for each in other.registry.all()] == ["a", "b"]


async def test_the_registry_s_ids_follow_creations_and_deletions(cluster: Cluster) -> None:
    async with cluster.worker() as worker, asyncio.timeout(WITHIN_SECONDS):
        registry, store = worker.registry, worker.store
        seen = [registry.ids()]
        for change in (
            store.apply(document("b")),
            store.apply(document("a")),
            store.edit("b", PAUSE),
            store.delete("a"),
        ):
            await change
            await registry.caught_up()
            seen.append(registry.ids())
    assert [tuple(ids) for ids in seen] == [(), ("b",), ("a", "b"), ("a", "b"), ("b",)]


async def test_a_binary_header_name_stops_no_worker(cluster: Cluster) -> None:
    await cluster.broker.append(cluster.topic, batch(Written(b"{}", b"a", [(b"x-\xff", b"1")])))
    async with cluster.worker() as worker, asyncio.timeout(WITHIN_SECONDS):
        await worker.store.apply(document("b"))
        await worker.registry.caught_up()
        assert [each.id for each in worker.registry.all()] == ["a", "b"]


async def test_a_worker_that_starts_later_reads_all_records(cluster: Cluster) -> None:
    async with cluster.worker() as worker:
        for name in ("a", "b", "c"):
            await worker.store.apply(document(name))
        await worker.store.delete("b")
    async with cluster.worker() as worker, asyncio.timeout(WITHIN_SECONDS):
        await worker.registry.ready()
        assert [each.id for each in worker.registry.all()] == ["a", "c"]
        assert worker.changes[-1] == ("b", None)


async def test_no_secret_is_in_the_topic_or_shown(cluster: Cluster) -> None:
    async with cluster.worker() as worker, asyncio.timeout(WITHIN_SECONDS):
        await worker.store.apply(document())
        shown = await worker.store.get("s")
        assert shown["revision"] == 0
        assert shown["configuration"]["entrypointConfiguration"]["auth"]["basic"]["password"] == MASKED_FIELD
        assert await worker.store.list() == [shown]
        assert (await worker.store.apply(shown)).what == "unchanged"
    records = await cluster.broker.read(cluster.topic)
    assert len(records) == 1
    assert records[0].value is not None
    assert b"hunter2" not in records[0].value
    assert json.loads(records[0].value)["configuration"]["entrypointConfiguration"]["callbackUrl"]


async def test_applying_an_unchanged_document_writes_no_record(cluster: Cluster) -> None:
    async with cluster.worker() as worker, asyncio.timeout(WITHIN_SECONDS):
        await worker.store.apply(document())
        again = await worker.store.apply(document(status="ACCEPTED", qos=None))
        assert (again.what, again.revision) == ("unchanged", 0)
        changed = await worker.store.apply(document(qos="none"))
        assert (changed.what, changed.revision) == ("updated", 1)
    assert len(await cluster.broker.read(cluster.topic)) == 2


async def test_documents_applied_together_are_written_in_order(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "TOGETHER", 3)
    async with cluster.worker() as one:
        await one.store.apply(document("b"))
        again = document("a", status="PAUSED")
        documents = [document("a"), document("b"), document("c"), document("d"), again, document("a"), document("e")]
        changes = [change async for change in one.store.apply_all(documents)]
    assert [(change.id, change.what, change.revision) for change in changes] == [
        ("a", "created", 1),
        ("b", "unchanged", 0),
        ("c", "created", 2),
        ("d", "created", 3),
        ("a", "updated", 4),
        ("a", "unchanged", 4),
        ("e", "created", 5),
    ]


async def test_no_document_is_written_if_one_of_them_is_refused(cluster: Cluster) -> None:
    async with cluster.worker() as one:
        masked = {"type": "basic", "basic": {"username": "u", "password": MASKED_FIELD}}
        refused = document("b", configuration={"callbackUrl": "https://example.com", "auth": masked})
        with pytest.raises(ConfigurationError, match="is masked, and no secret is stored there"):
            await anext(one.store.apply_all([document("a"), refused, document("c")]))
        assert await one.store.list() == []


async def test_applying_a_file_again_does_not_undo_a_pause(cluster: Cluster) -> None:
    async with cluster.worker() as worker, asyncio.timeout(WITHIN_SECONDS):
        await worker.store.apply(document())
        await worker.store.edit("s", PAUSE)
        assert (await worker.store.apply(document())).what == "unchanged"
        await worker.store.apply(document(status="ACCEPTED"))
        await worker.registry.caught_up()
        found = worker.registry.get("s")
        assert found is not None
        assert found.desired_status is DesiredStatus.DELIVER


async def test_the_registry_knows_what_was_created_again(cluster: Cluster) -> None:
    async with cluster.worker() as worker, asyncio.timeout(WITHIN_SECONDS):
        await worker.store.apply(document("a"))
        await worker.store.delete("a")
        again = await worker.store.apply(document("a"))
        await worker.store.edit("a", PAUSE)
        await worker.store.apply(document("b"))
        async with cluster.worker() as other:  # it reads what happened before it began
            for each in (worker, other):
                await each.registry.caught_up()
                assert [each.registry.recreated_at(name) for name in ("a", "b")] == [again.revision, None]


async def desired_after(worker: Worker, change: Any) -> tuple[str, DesiredStatus]:
    done = await change
    await worker.registry.caught_up()
    found = worker.registry.get("s")
    assert found is not None
    return done.what, found.desired_status


async def test_pause_stop_start_and_resume_set_the_desired_status(cluster: Cluster) -> None:
    async with cluster.worker() as worker, asyncio.timeout(WITHIN_SECONDS):
        store = worker.store
        await store.apply(document())
        assert await desired_after(worker, store.edit("s", PAUSE)) == ("updated", DesiredStatus.PAUSED)
        assert await desired_after(worker, store.edit("s", PAUSE)) == ("unchanged", DesiredStatus.PAUSED)
        assert await desired_after(worker, store.edit("s", STOP)) == ("updated", DesiredStatus.PAUSED)
        assert await desired_after(worker, store.edit("s", START)) == ("updated", DesiredStatus.PAUSED)
        assert await desired_after(worker, store.edit("s", RESUME)) == ("updated", DesiredStatus.DELIVER)
        assert await desired_after(worker, store.edit("s", STOP)) == ("updated", DesiredStatus.STOPPED)
        assert await desired_after(worker, store.edit("s", RESUME)) == ("updated", DesiredStatus.DELIVER)


async def test_a_resume_is_always_a_new_revision(cluster: Cluster) -> None:
    async with cluster.worker() as worker, asyncio.timeout(WITHIN_SECONDS):
        await worker.store.apply(document())
        assert (await worker.store.edit("s", RESUME)).revision == 1
        assert (await worker.store.edit("s", RESUME)).revision == 2


async def test_a_skip_and_a_replay_belong_to_one_revision_each(cluster: Cluster) -> None:
    async with cluster.worker() as worker, asyncio.timeout(WITHIN_SECONDS):
        store, registry = worker.store, worker.registry
        await store.apply(document())
        for change in (
            store.edit("s", going_on_from({"skip": {"partition": 1, "offset": 41}})),
            store.edit("s", going_on_from({"partition": 2, "offset": 7})),
            store.edit("s", going_on_from({"timestamp": "2026-01-01T00:00:00Z"})),
            store.edit("s", PAUSE),
        ):
            await change
        await registry.caught_up()
        commands = [found.resume_from for _, found in worker.changes if found is not None]
        assert commands == [None, Skip(1, 41), ReplayOffset(2, 7), ReplayTimestamp(1_767_225_600_000), None]
        newest = registry.get("s")
        assert newest is not None
        assert newest.commands == tuple(Command(number, what) for number, what in enumerate(commands) if what)


async def test_a_command_in_a_document_is_not_carried_out_twice(cluster: Cluster) -> None:
    async with cluster.worker() as worker, asyncio.timeout(WITHIN_SECONDS):
        command = document(resumeFrom={"partition": 0, "offset": 3})
        assert (await worker.store.apply(command)).what == "created"
        assert (await worker.store.apply(command)).what == "unchanged"
        assert (await worker.store.apply(document())).what == "unchanged"
        assert (await worker.store.apply(document(resumeFrom={"partition": 0, "offset": 4}))).what == "updated"


async def test_applying_a_shown_document_repeats_no_command(cluster: Cluster) -> None:
    async with cluster.worker() as worker, asyncio.timeout(WITHIN_SECONDS):
        await worker.store.apply(document())
        replayed = await worker.store.edit("s", going_on_from({"partition": 2, "offset": 7}))
        await worker.registry.caught_up()
        shown = await worker.store.get("s")
        assert shown["resumeFrom"] == {"partition": 2, "offset": 7}
        edited = await worker.store.apply({**shown, "metadata": {"edited": "yes"}})
        assert (edited.what, edited.revision) == ("updated", replayed.revision + 1)
        await worker.registry.caught_up()
        newest = worker.registry.get("s")
        assert newest is not None
        assert newest.resume_from is None


async def test_bad_commands_are_refused_and_write_no_record(cluster: Cluster) -> None:
    async with cluster.worker() as worker, asyncio.timeout(WITHIN_SECONDS):
        store = worker.store
        with pytest.raises(UnknownSubscriptionError, match='there is no subscription "nobody"'):
            await store.edit("nobody", RESUME)
        with pytest.raises(UnknownSubscriptionError):
            await store.get("nobody")
        with pytest.raises(UnknownSubscriptionError):
            await store.delete("nobody")
        with pytest.raises(ConfigurationError, match=r"http.readTimeout: 99999 is more than the entrypoint allows"):
            await store.apply({"id": "s", "configuration": {"callbackUrl": "http://e", "http": {"readTimeout": 99999}}})
        with pytest.raises(ConfigurationError, match=r"signing.secrets\[0\]: must begin with whsec_"):
            await store.apply({"id": "s", "configuration": {"callbackUrl": "http://e", "signing": {"secrets": ["x"]}}})
        await store.apply(document(status="CLOSED"))
        with pytest.raises(ConfigurationError, match="is closed; apply it with status ACCEPTED"):
            await store.edit("s", RESUME)
        with pytest.raises(ConfigurationError, match=r"resumeFrom.offset: -1 is out of range"):
            await store.edit("s", going_on_from({"partition": 0, "offset": -1}))
    assert len(await cluster.broker.read(cluster.topic)) == 1


async def test_a_key_is_validated_before_it_is_written(cluster: Cluster) -> None:
    profile = {
        "issuer": "i",
        "subject": "s",
        "audience": "https://id.example/token",
        "keyContent": unsound_rsa_key().decode(),
    }
    auth = {"type": "jwtProfileOauth2", "jwtProfileOauth2": profile}
    async with cluster.worker() as worker, asyncio.timeout(WITHIN_SECONDS):
        with pytest.raises(ConfigurationError, match=r"keyContent: contains an inconsistent RSA key"):
            await worker.store.apply({"id": "s", "configuration": {"callbackUrl": "https://e", "auth": auth}})
    assert await cluster.broker.read(cluster.topic) == []


async def test_concurrent_editors_in_a_process_build_on_each_other(cluster: Cluster) -> None:
    async with cluster.worker() as worker, asyncio.timeout(WITHIN_SECONDS):
        await worker.store.apply(document())
        await asyncio.gather(worker.store.edit("s", PAUSE), worker.store.edit("s", STOP))
        shown = await worker.store.get("s")
        assert (shown["status"], shown["consumerStatus"]) == ("PAUSED", "STOPPED")


async def test_after_a_key_rotation_an_edit_encrypts_with_the_new_key(cluster: Cluster) -> None:
    new = Fernet.generate_key().decode()
    async with cluster.worker() as worker:
        await worker.store.apply(document())
    async with cluster.worker(new, KEY) as worker:
        await worker.store.edit("s", RESUME)
    async with cluster.worker(new) as worker, asyncio.timeout(WITHIN_SECONDS):
        await worker.registry.ready()
        found = worker.registry.get("s")
        assert found is not None
        assert found.problem is None
        assert found.auth == BasicAuth("u", "hunter2")


async def test_secrets_with_an_older_key_are_encrypted_again(cluster: Cluster) -> None:
    new = Fernet.generate_key().decode()
    plain = document("b")
    unbound = document("c")
    unbound["configuration"]["auth"]["basic"]["password"] = "enc:v1:" + Fernet(KEY).encrypt(b"hunter2").decode()
    async with cluster.worker() as worker:
        await worker.store.apply(document("a"))
        await worker.store.edit("a", PAUSE)
        await cluster.broker.produce(
            cluster.topic, (b"b", json.dumps(plain).encode()), (b"c", json.dumps(unbound).encode())
        )
    async with cluster.worker(new, KEY) as worker, asyncio.timeout(WITHIN_SECONDS):
        await worker.registry.ready()
        assert [(await worker.store.reencrypt(name)).what for name in ("a", "b", "c")] == ["updated"] * 3
        assert [(await worker.store.reencrypt(name)).what for name in ("a", "b", "c")] == ["unchanged"] * 3
        with pytest.raises(UnknownSubscriptionError):
            await worker.store.reencrypt("d")
    async with cluster.worker(new) as worker, asyncio.timeout(WITHIN_SECONDS):
        await worker.registry.ready()
        assert [(each.problem, each.auth) for each in worker.registry.all()] == [(None, BasicAuth("u", "hunter2"))] * 3
        assert (await worker.store.get("a"))["status"] == "PAUSED"


async def test_a_bug_in_reading_one_record_affects_no_other_record(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(subscription: WireSubscription, *rest: Any) -> Subscription:
        if subscription.id == "a":
            raise ZeroDivisionError
        return to_subscription(subscription, *rest)

    monkeypatch.setattr(record_reader, "to_subscription", faulty)
    await cluster.broker.produce(
        cluster.topic, *((name.encode(), json.dumps(document(name)).encode()) for name in ("a", "b"))
    )
    async with cluster.worker() as worker, asyncio.timeout(WITHIN_SECONDS):
        await worker.registry.ready()
        assert {each.id: each.problem for each in worker.registry.all()} == {
            "a": "internal error: ZeroDivisionError",
            "b": None,
        }


async def test_the_registry_is_ready_after_its_key_stores_are_opened(cluster: Cluster) -> None:
    content = base64.b64encode((STORES / "keys.p12").read_bytes()).decode()
    wanted = document("a")
    store = {"type": "PKCS12", "content": content, "password": "store-secret"}
    wanted["configuration"]["ssl"] = {"keyStore": store}
    await cluster.broker.produce(cluster.topic, (b"a", json.dumps(wanted).encode()), (b"b", b"{}"))
    async with cluster.worker() as worker, asyncio.timeout(WITHIN_SECONDS):
        await worker.registry.ready()
        assert worker.registry.is_current
        [with_store, _] = worker.registry.all()
        assert with_store.problem is None
        assert with_store.tls.client_key_pem is not None


async def test_an_unusable_record_becomes_a_broken_subscription(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    password = "enc:v1:" + Fernet(Fernet.generate_key()).encrypt(b"x").decode()
    other = document("c")
    other["configuration"]["auth"]["basic"]["password"] = password
    await cluster.broker.produce(
        cluster.topic,
        (b"a", b"{"),
        (b"b", json.dumps(document("not-b")).encode()),
        (b"c", json.dumps(other).encode()),
        (b"d", b'{"id": "d", "configuration": {"callbackUrl": "ftp://x"}}'),
        (b"\xff", b"{}"),
        (b"e", json.dumps(document("e")).encode()),
    )
    async with cluster.worker() as worker, asyncio.timeout(WITHIN_SECONDS):
        await worker.registry.ready()
        problems = {each.id: each.problem for each in worker.registry.all()}
        assert problems == {
            "a": "the record is not JSON",
            "b": "id: 'not-b' is not the key of the record, 'b'",
            "c": "configuration.entrypointConfiguration.auth.basic.password: "
            "the secret of 'c' can't be decrypted: no key in WEBHOOKS_SECRET_KEYS fits, or the secret was copied from "
            "another place",
            "d": "configuration.callbackUrl: must begin with http:// or https://",
            "e": None,
        }
        assert worker.registry.masked("a") == {"id": "a", "revision": 0, "problem": "the record is not JSON"}
        shown = worker.registry.masked("c")
        assert shown is not None
        assert "can't be decrypted" in shown["problem"]
        assert shown["status"] == "ACCEPTED"
        with pytest.raises(ConflictError, match="can't be decrypted"):
            await worker.store.edit("c", PAUSE)
        assert (await worker.store.apply(document("c"))).what == "updated"
    warnings = [record.message for record in caplog.records if "can't be used" in record.message]
    assert len(warnings) == 4
    assert password not in caplog.text


async def test_concurrent_callers_share_one_lookup_of_the_end(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster.worker() as worker, asyncio.timeout(WITHIN_SECONDS):
        await worker.registry.ready()
        tail = worker.registry._tail
        asked = 0
        end = tail._end

        async def counted() -> int:
            nonlocal asked
            asked += 1
            return await end()

        monkeypatch.setattr(tail, "_end", counted)
        await asyncio.gather(*(worker.registry.caught_up() for _ in range(50)))
        assert asked == 1
        await worker.registry.caught_up()
        assert asked == 2


async def test_a_caller_during_a_lookup_of_the_end_gets_a_new_lookup(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The topic may have grown since the running lookup, and the caller needs the newer records."""
    async with cluster.worker() as worker, asyncio.timeout(WITHIN_SECONDS):
        await worker.registry.ready()
        tail = worker.registry._tail
        ends: list[int] = []
        answered, goes_on = asyncio.Event(), asyncio.Event()
        end = tail._end

        async def held_up() -> int:
            ends.append(await end())
            answered.set()
            await goes_on.wait()
            return ends[-1]

        monkeypatch.setattr(tail, "_end", held_up)
        first = asyncio.create_task(worker.registry.caught_up())
        await answered.wait()
        await cluster.broker.produce(cluster.topic, (b"a", b"{}"))
        second = asyncio.create_task(worker.registry.caught_up())
        await asyncio.sleep(0)
        goes_on.set()
        await asyncio.gather(first, second)
        assert ends == [0, 1]


async def test_after_a_failure_the_reader_continues_at_its_position(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records must not be read again: otherwise a replaced revision would be in effect for a moment."""
    async with cluster.worker() as worker, asyncio.timeout(WITHIN_SECONDS):
        for name in ("a", "b", "a"):
            await worker.store.apply(document(name, metadata={"n": str(len(worker.changes))}))
        await worker.registry.caught_up()
        getmany = AIOKafkaConsumer.getmany
        failures = [KafkaError("whatever it was")]

        async def fails_once(self: AIOKafkaConsumer, *places: TopicPartition, **options: Any) -> Any:
            if failures:
                raise failures.pop()
            return await getmany(self, *places, **options)

        monkeypatch.setattr(AIOKafkaConsumer, "getmany", fails_once)
        await until(lambda: not failures)
        await worker.store.apply(document("c"))
        await worker.registry.caught_up()
        revisions = [found.revision for _, found in worker.changes if found is not None]
        assert revisions == [0, 1, 2, 3]


async def test_stopping_the_registry_ends_waiting_calls_with_an_error(cluster: Cluster) -> None:
    missing = Cluster(cluster.broker, f"{cluster.topic}-missing")
    async with missing.worker() as worker:
        waiting = [asyncio.create_task(worker.registry.ready()), asyncio.create_task(worker.registry.caught_up())]
        await asyncio.sleep(0)
        await worker.registry.stop()
        async with asyncio.timeout(WITHIN_SECONDS):
            found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in found] == [BrokerError, BrokerError]
        with pytest.raises(BrokerError, match="is no longer being read"):
            await worker.registry.caught_up()


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds. It has no time limit of its own, only that of the test."""
    while not condition():  # noqa: ASYNC110  # the condition depends on another thread and a broker
        await asyncio.sleep(0.01)


async def test_an_outage_of_the_brokers_is_reported_and_survived(
    embedded: TestBroker, unique_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.kafka.tail.LOOK_SECONDS", 0.0)
    monkeypatch.setattr("pipeline.kafka.following.REQUEST_TIMEOUT_MS", 1_000)
    cluster = Cluster(embedded, await embedded.create_topic(unique_name("subscriptions")))
    assert embedded.mock is not None
    async with cluster.worker() as worker, asyncio.timeout(40):
        await worker.store.apply(document("a"))
        await worker.registry.caught_up()
        embedded.mock.down()
        await until(lambda: not worker.registry.is_current)
        assert worker.registry.last_error is not None
        assert worker.registry.last_error.startswith(f"topic {cluster.topic}: ")
        assert worker.registry.get("a") is not None
        waiting = asyncio.create_task(worker.registry.caught_up())
        embedded.mock.up()
        await waiting
        await until(lambda: worker.registry.is_current)
        await worker.store.apply(document("b"))
        await worker.registry.caught_up()
        assert [each.id for each in worker.registry.all()] == ["a", "b"]


async def test_the_registry_waits_for_a_topic_that_does_not_exist_yet(
    kafka: TestBroker, unique_name: Callable[[str], str]
) -> None:
    cluster = Cluster(kafka, unique_name("subscriptions"))
    async with cluster.worker() as worker, asyncio.timeout(WITHIN_SECONDS):
        await until(lambda: "does not exist" in (worker.registry.last_error or ""))
        assert not worker.registry.is_current
        await kafka.create_topic(cluster.topic, 1, {"cleanup.policy": "compact"})
        await worker.registry.ready()
        assert worker.registry.is_current


async def test_offsets_without_records_are_skipped(kafka: TestBroker, unique_name: Callable[[str], str]) -> None:
    cluster = Cluster(kafka, await kafka.create_topic(unique_name("subscriptions")))
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=cluster.topic)
    await producer.start()
    try:
        async with producer.transaction():
            await producer.send_and_wait(cluster.topic, json.dumps(document("a")).encode(), key=b"a")
    finally:
        await producer.stop()
    async with cluster.worker() as worker, asyncio.timeout(WITHIN_SECONDS):
        # The last offset is the marker of the transaction, which readers never get.
        await worker.registry.ready()
        assert [each.id for each in worker.registry.all()] == ["a"]


async def test_a_refused_record_does_not_affect_later_records(
    kafka: TestBroker, unique_name: Callable[[str], str]
) -> None:
    """aiokafka counts the refused record, so the broker would refuse all later records as out of order."""
    policy = {"cleanup.policy": "compact", "max.message.bytes": "2000"}
    writer = SubscriptionWriter(kafka.connection, await kafka.create_topic(unique_name("subscriptions"), 1, policy))
    await writer.open()
    try:
        assert await writer.send("small", b"{}") == 0
        with pytest.raises(ConfigurationError, match="it has 5,000 bytes"):
            await writer.send("large", bytes(5_000))
        assert [await writer.send("small", b"{}") for _ in range(2)] == [1, 2]
    finally:
        await writer.close()
