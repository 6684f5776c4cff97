"""Errors of the group are logged, and the consumer continues."""

import asyncio
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.errors import GroupAuthorizationFailedError, InvalidSessionTimeoutError, KafkaError
from faust.types import TP

from pipeline.observability.instruments import LineLimit
from pipeline.runtime import retrying_consumer
from pipeline.runtime.retrying_consumer import LOOK_SECONDS, RetryingConsumerThread, rejoin_after_errors
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


async def test_a_refused_commit_does_not_end_the_worker() -> None:
    """Runs Faust's own `_commit`, which ends the worker unless Faust knows the text of the error."""

    async def refuse(_: Any) -> None:
        raise GroupAuthorizationFailedError("webhooks")

    thread: Any = object.__new__(RetryingConsumerThread)
    tp, crashes = TP("orders", 0), list[BaseException]()
    thread._refusals, thread.tp_last_committed_at = LineLimit(), {}
    thread.assignment, thread.crash = lambda: {tp}, crashes.append
    thread._ensure_consumer = lambda: SimpleNamespace(commit=partial(thread._commit_if_allowed, refuse))
    assert await thread._commit({tp: 5}) is False
    assert crashes == []
