"""The connections between parts that the composition root makes. Tests of single parts do not notice a missing
connection."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from cryptography.fernet import Fernet

from pipeline.app import _expansion, _subscription_changed, create_app
from pipeline.auth.authorization import Authorized
from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.core.clock import SystemClock
from pipeline.core.errors import LeaseEndedError
from pipeline.core.log_bounds import LogBounds
from pipeline.core.model import PlainEvent
from pipeline.core.outcome import Delivered
from pipeline.core.sources import TopicPartition
from pipeline.core.subscription import Routing, Subscription
from pipeline.http.handshake import Permitted
from pipeline.http.transport import Transport
from pipeline.http.webhook import Callback
from pipeline.kafka.committed import Committed
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.topics import Source
from pipeline.observability.telemetry import Telemetry
from pipeline.runtime.application import DeliveryApp
from pipeline.runtime.engine import Engine
from tests.support.receiver import Receiver
from tests.unit.runtime.test_log_check import Brokers

SOURCE = Source(KafkaConnection(("127.0.0.1:1",)), "events")
DEFINITION = Definition("orders", SOURCE, stated_routing=Routing.KEY)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unique_name: Callable[[str], str]) -> Settings:
    monkeypatch.setenv("WEBHOOKS_API", str(tmp_path / "api.json"))
    monkeypatch.setenv("WEBHOOKS_APP", unique_name("app"))
    monkeypatch.setenv("WEBHOOKS_SECRET_KEYS", Fernet.generate_key().decode())
    monkeypatch.setenv("WEBHOOKS_ALLOW_PRIVATE_NETWORKS", "127.0.0.0/8")
    monkeypatch.setenv("WEBHOOKS_DATA_DIR", str(tmp_path))
    return Settings()


@pytest.fixture
def app(settings: Settings) -> DeliveryApp:
    """The application, not started and not connected."""
    return create_app(settings, DEFINITION)


@dataclass
class Sending:
    """The parts of an application that send an attempt."""

    authorized: Authorized
    transport: Transport


def sending(app: DeliveryApp) -> Sending:
    authorized = cast("Authorized", next(iter(app.parts.sources)).deliver.send)
    permitted = cast("Permitted", authorized.callback)
    return Sending(authorized, cast("Callback", permitted._receiver)._transport)


def test_no_request_begins_without_the_lease(app: DeliveryApp) -> None:
    """An attempt that checks the lease and then waits for a connection has to check the lease again."""

    async def attempt() -> None:
        found = sending(app)
        await found.transport.start()
        try:
            async with Receiver() as receiver:
                subscription = Subscription("sub-1", 1, receiver.url)
                event = PlainEvent("events", 0, 0, b"sub-1", b"body")
                with pytest.raises(LeaseEndedError):
                    await found.authorized(subscription, event, 1)
                assert receiver.requests == []
                app.parts.lease.renew(app.parts.lease.now())
                assert await found.authorized(subscription, event, 1) == Delivered(200)
        finally:
            await found.transport.close()

    asyncio.run(attempt())


@pytest.mark.parametrize("seconds", [3.0, 6.0, 40.0])
def test_the_lease_ends_before_the_session_of_the_group(settings: Settings, seconds: float) -> None:
    app = create_app(settings.model_copy(update={"session_seconds": seconds}), DEFINITION)
    now = app.parts.lease.now()
    assert app.conf.broker_session_timeout == seconds
    app.parts.lease.renew(now - seconds)
    assert not app.parts.lease.is_held
    app.parts.lease.renew(now - 1.9 * app.conf.broker_heartbeat_interval)
    assert app.parts.lease.is_held, "one heartbeat may be late"


def test_sending_and_heartbeats_use_the_same_lease(app: DeliveryApp) -> None:
    assert next(iter(app.parts.sources)).deliver.lease is app.parts.lease


def test_a_closed_partition_releases_its_tokens(app: DeliveryApp) -> None:
    assert next(iter(app.parts.sources))._on_closed == sending(app).authorized.tokens.release


def test_a_worker_knows_the_ids_of_former_topics(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """Kafka has deleted the offsets together with the topic, so only this id shows that the topic was recreated."""
    app = create_app(settings, DEFINITION, {TopicPartition("events", 3): "former"})
    check = app.parts.log_checks["events"]
    check._source = Brokers(p3=LogBounds(0, 5, "current"))
    asyncio.run(check.begin({3: Committed(None)}))
    assert "log.broken kind=recreated topic=events partition=3" in caplog.text


def test_changelogs_are_expanded_after_the_topic_of_rows(app: DeliveryApp, settings: Settings) -> None:
    """A partition is assigned when all topics of the group have it. By then, the topic of rows must have the partition
    too."""
    expansion = _expansion(app, settings, DEFINITION, SystemClock())
    assert expansion is not None
    assert list(expansion._own) == [f"{settings.app}.cursors", f"{settings.app}-tokens-changelog"]
    assert set(expansion._own) - {f"{settings.app}.cursors"} == app.tables.changelog_topics


def test_aiokafka_never_chooses_an_offset_by_itself(app: DeliveryApp) -> None:
    assert app.conf.consumer_auto_offset_reset == "none"


def test_a_deleted_subscription_has_no_run_of_dead_letters(app: DeliveryApp) -> None:
    [engine] = [each for each in app._children if isinstance(each, Engine)]
    starts = [part.start for part in engine._parts if isinstance(part.start, partial)]
    [changed] = [given for start in starts for given in start.args if given.func is _subscription_changed]
    [telemetry] = [each for each in changed.args[0] if isinstance(each, Telemetry)]
    telemetry.dead_letter_runs.failed("s", "401")
    telemetry.dead_letter_runs.dead_lettered("rejected", "s", PlainEvent("t", 0, 0, b"s", b""), 1.0)
    changed("s", None)
    assert telemetry.dead_letter_runs.newest(1, {("t", 0)}) == {}
