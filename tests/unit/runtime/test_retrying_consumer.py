"""Errors of the group are logged, and the consumer continues."""

import asyncio
from typing import Any, cast

import pytest
from aiokafka.errors import InvalidSessionTimeoutError, KafkaError

from pipeline.observability.instruments import LineLimit
from pipeline.runtime import retrying_consumer
from pipeline.runtime.retrying_consumer import LOOK_SECONDS, rejoin_after_errors
from tests.support.virtual_time import in_virtual_time


class Refusing:
    """A coordinator whose joins always end with the same error."""

    group_id = "webhooks"

    def __init__(self, error: KafkaError) -> None:
        self.error = error
        self.joins = 0

    def check_errors(self) -> None:
        raise self.error

    def request_rejoin(self) -> None:
        self.joins += 1


@in_virtual_time
async def test_a_refused_session_timeout_is_reported_and_retried(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retrying_consumer, "has_ended", lambda _: False)
    monkeypatch.setattr(retrying_consumer, "has_error", lambda _: True)
    coordinator = Refusing(InvalidSessionTimeoutError())
    task = asyncio.get_running_loop().create_task(rejoin_after_errors(cast("Any", coordinator), LineLimit()))
    await asyncio.sleep(3.5 * LOOK_SECONDS)
    task.cancel()
    assert coordinator.joins == 4
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("the group webhooks rejects this worker: ")
    assert "WEBHOOKS_SESSION_SECONDS" in line
