"""Operators are notified in a topic and by a webhook, on a real Kafka."""

import json
from collections.abc import Callable
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
            return [event["type"].rpartition(".")[2] for event in await events(found)] == ["failed", "recovered"]

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
