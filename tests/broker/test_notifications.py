"""Operators are notified in a topic and by a webhook, on a real Kafka."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from pipeline.core.model import Status
from pipeline.kafka.topics import events_topic
from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.recorder import Recorder, accept, answer
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(150)

SECRET = "whsec_" + "c2VjcmV0" * 4


async def events(found: Cluster) -> list[dict[str, Any]]:
    """The notifications in the topic."""
    return [json.loads(record.value or b"") for record in await found.broker.read(events_topic(found.app))]


def kinds(found: Iterable[dict[str, Any]]) -> list[str]:
    """The last parts of the types of notifications."""
    return [event["type"].rpartition(".")[2] for event in found]


async def test_a_failure_and_its_end_are_notified_by_topic_and_webhook(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, recorder: Recorder
) -> None:
    settings = {"NOTIFY_URL": recorder.url("ops"), "NOTIFY_SIGNING_SECRET": SECRET}
    recovery = {"initialDelaySeconds": 1, "maxDelaySeconds": 1}
    async with cluster(kafka, unique_name("notify"), tmp_path, settings=settings, recovery=recovery) as found:
        recorder.behaviours["sub-1"] = answer(500)
        await found.subscribe(recorder, "sub-1", endpoint={"retry": {"retryOption": "No Retry"}})
        worker = await found.start_worker()
        await found.until_ready()
        await found.produce([("sub-1", b"a")])
        await found.until_row("sub-1", status=Status.FAILURE)
        recorder.behaviours["sub-1"] = accept

        async def has_recovered() -> bool:
            return kinds(await events(found)) == ["failed", "recovered"]

        await eventually(has_recovered, within_seconds=60, says=worker.output)
        await recorder.until(lambda: len(recorder.of("notifications")) == 2)

        written = await events(found)
        assert {event["specversion"] for event in written} == {"1.0"}
        assert [event["subject"] for event in written] == ["sub-1", "sub-1"]
        calls = recorder.of("notifications")
        assert [json.loads(call.body) for call in calls] == written
        for call in calls:
            assert call.headers["content-type"].startswith("application/cloudevents+json")
            Webhook(SECRET).verify(call.body, call.headers)


async def test_a_failing_webhook_multiplies_no_notifications(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, recorder: Recorder
) -> None:
    """Two workers, a webhook that is down, and a restart in the middle."""
    recorder.behaviours["notifications"] = answer(500)
    recorder.behaviours["sub-1"] = answer(500)
    recovery = {"initialDelaySeconds": 1, "maxDelaySeconds": 1}
    settings = {"NOTIFY_URL": recorder.url("ops")}
    async with cluster(kafka, unique_name("loop"), tmp_path, settings=settings, recovery=recovery) as found:
        await found.subscribe(recorder, "sub-1", endpoint={"retry": {"retryOption": "No Retry"}})
        one, two = await found.start_worker(), await found.start_worker()
        await found.until_ready()
        await found.produce([("sub-1", b"a")])
        await found.until_row("sub-1", status=Status.FAILURE)
        await recorder.until(lambda: bool(recorder.of("notifications")))
        is_with_one = any(lane["status"] == "failure" for lane in await one.lanes())
        owner, other = (one, two) if is_with_one else (two, one)
        assert await owner.terminate() == 0
        assert "notification.dropped outlet=webhook error=the worker is stopping" in owner.output().replace('"', "")
        await found.until_ready(other)
        tried = len(recorder.of("sub-1"))
        await recorder.until(lambda: len(recorder.of("sub-1")) >= tried + 3)
        assert kinds(await events(found)) == ["failed"], "neither probes nor the failing webhook cause notifications"

        recorder.behaviours["sub-1"] = recorder.behaviours["notifications"] = accept
        await recorder.until(
            lambda: kinds(json.loads(call.body) for call in recorder.of("notifications"))[-1:] == ["recovered"]
        )

        async def are_told() -> bool:
            return kinds(await events(found)) == ["failed", "recovered"]

        await eventually(are_told, within_seconds=30, says=other.output)
