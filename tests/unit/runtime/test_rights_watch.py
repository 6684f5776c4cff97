"""A worker without a right: how often it logs the missing right, and how it finds out that the right was granted."""

import asyncio
import logging
from collections.abc import Sequence

import pytest

from pipeline.core.errors import BrokerError
from pipeline.core.subscription import TlsOptions
from pipeline.kafka.connection import KafkaConnection
from pipeline.observability.instruments import LineLimit
from pipeline.runtime.rights import Right
from pipeline.runtime.rights_watch import RightsWatch
from tests.support.fakes import VirtualClock
from tests.support.virtual_time import in_virtual_time

PLAIN = KafkaConnection(("kafka:9092", "kafka2:9092"), "SASL_PLAINTEXT", "PLAIN", "orders", "hunter2")
READ_GROUP = Right(PLAIN, "group", "app", "READ", "to join")
WRITE_ROWS = Right(PLAIN, "topic", "app.cursors", "WRITE", "to note")


def test_a_missing_right_is_logged_once_in_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    moments = iter([0.0, 0.0, 2.0, 2.0, 9.9, 9.9, 10.0])
    rights = RightsWatch(LineLimit(10.0, monotonic=lambda: next(moments)))

    for _ in range(3):
        rights.report([READ_GROUP, WRITE_ROWS])
    assert caplog.messages == [str(READ_GROUP), str(WRITE_ROWS)]
    rights.report([WRITE_ROWS])

    assert caplog.messages[2:] == [str(WRITE_ROWS)]
    assert rights.problem == str(WRITE_ROWS)


def test_a_granted_right_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rights = RightsWatch()

    rights.report([])
    rights.report([READ_GROUP])
    rights.report([])
    rights.report([])

    assert caplog.messages == [str(READ_GROUP), "this worker has all required rights again"]
    assert rights.problem is None


@in_virtual_time
async def test_an_unanswered_check_changes_nothing() -> None:
    answers: list[Sequence[Right] | BrokerError] = [[READ_GROUP], BrokerError("away"), []]
    seen: list[tuple[Right, ...]] = []
    rights = RightsWatch()

    async def ask() -> Sequence[Right]:
        await asyncio.sleep(0)
        seen.append(rights.missing)
        if not answers:
            raise asyncio.CancelledError
        answer = answers.pop(0)
        if isinstance(answer, BrokerError):
            raise answer
        return answer

    with pytest.raises(asyncio.CancelledError):
        await rights.watch(ask, VirtualClock())

    assert seen == [(), (READ_GROUP,), (READ_GROUP,), ()]


@pytest.mark.parametrize(
    ("right", "sentence"),
    [
        (
            READ_GROUP,
            (
                "group app: User:orders lacks the right READ (to join); grant it with kafka-acls --bootstrap-server "
                "kafka:9092,kafka2:9092 --add --allow-principal User:orders --operation Read --group app"
            ),
        ),
        (
            Right(PLAIN, "transactional id", "app.cursors.", "WRITE", "x"),
            (
                "transactional id app.cursors.: User:orders lacks the right WRITE (x); grant it with kafka-acls "
                "--bootstrap-server kafka:9092,kafka2:9092 --add --allow-principal User:orders --operation Write "
                "--transactional-id app.cursors. --resource-pattern-type prefixed"
            ),
        ),
        (
            Right(KafkaConnection(("kafka:9092",)), "cluster", "", "IDEMPOTENT_WRITE", "x"),
            (
                "cluster: User:ANONYMOUS lacks the right IDEMPOTENT_WRITE (x); grant it with kafka-acls "
                "--bootstrap-server kafka:9092 --add --allow-principal User:ANONYMOUS --operation IdempotentWrite "
                "--cluster"
            ),
        ),
        (
            Right(
                KafkaConnection(("kafka:9092",), "SSL", tls=TlsOptions(client_certificate_pem="PEM")),
                "topic",
                "events",
                "DESCRIBE_CONFIGS",
                "x",
            ),
            (
                "topic events: the user of the client certificate lacks the right DESCRIBE_CONFIGS (x); grant it with "
                "kafka-acls --bootstrap-server kafka:9092 --add --allow-principal User:NAME --operation DescribeConfigs"
                " --topic events"
            ),
        ),
    ],
)
def test_a_missing_right_is_reported_with_its_granting_command(right: Right, sentence: str) -> None:
    assert str(right) == sentence
    assert "hunter2" not in str(right)
