"""Where partitions continue, given the commits and the state of the log on the brokers."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.errors import KafkaConnectionError
from faust.types import TP

from pipeline.core.ahead import pack
from pipeline.core.log_bounds import LARGEST_OFFSET, Break, LogBounds
from pipeline.core.sources import TopicPartition
from pipeline.kafka.committed import Committed
from pipeline.observability.telemetry import Telemetry
from pipeline.runtime.consumer import DeliveryConsumer
from pipeline.runtime.log_check import LogCheck
from pipeline.runtime.log_checks import LogChecks

TOPIC = "events"


class Brokers:
    """A source topic whose logs a test changes."""

    def __init__(self, **logs: LogBounds) -> None:
        self.logs = {int(name.removeprefix("p")): log for name, log in logs.items()}
        self.exists = True
        self.trouble: Exception | None = None

    async def look(self, numbers: list[int]) -> dict[int, LogBounds]:
        return {number: self.logs[number] for number in numbers}

    async def look_once(self, numbers: list[int]) -> dict[int, LogBounds] | None:
        if self.trouble is not None:
            raise self.trouble
        return await self.look(numbers) if self.exists else None

    async def close(self) -> None:
        self.exists = False


def check_of(brokers: Brokers) -> tuple[LogCheck, Telemetry]:
    telemetry = Telemetry()
    return LogCheck(TOPIC, brokers, telemetry), telemetry


async def begun(
    check: LogCheck, telemetry: Telemetry, committed: Mapping[int, Committed]
) -> tuple[dict[int, int], dict[int, LogBounds]]:
    """The result of `LogCheck.begin`; breaks are reported as the dispatcher reports them."""
    places, logs = await check.begin(committed)
    for number, log in logs.items():
        if log.commit_break is not None:
            telemetry.log_broken(TOPIC, number, log.commit_break)
    return places, logs


async def test_a_partition_begins_at_a_committed_offset_in_the_log() -> None:
    check, telemetry = check_of(
        Brokers(p0=LogBounds(0, 9, "a"), p1=LogBounds(4, 9, "a"), p2=LogBounds(4, 9, "a"), p3=LogBounds(4, 9, "a"))
    )
    places, logs = await begun(
        check, telemetry, {0: Committed(0, "a"), 1: Committed(None), 2: Committed(1, "a"), 3: Committed(99, "a")}
    )
    assert places == {0: 0, 1: 4, 2: 4, 3: 9}
    assert {number: log.former_id for number, log in logs.items()} == {0: "a", 1: None, 2: "a", 3: "a"}
    assert telemetry.log_breaks == {"recreated": 0, "truncated": 1, "retention": 1}
    assert telemetry.drops["retention"] == 3
    assert check.metadata(0) == "topic-id=a"


async def test_a_recreated_topic_is_recognised_by_the_committed_id() -> None:
    check, telemetry = check_of(Brokers(p0=LogBounds(0, 90, "b")))
    assert (await begun(check, telemetry, {0: Committed(50, "a")}))[0] == {0: 0}
    [warning] = telemetry.warnings()
    told = "the source topic was deleted and created again; delivering the new topic from its beginning"
    assert warning == f"partition 0 of events: {told}"


async def test_a_reader_recognises_a_recreated_topic_without_offsets() -> None:
    brokers = Brokers(p0=LogBounds(0, 50, "a"))
    check, telemetry = check_of(brokers)
    await check.begin({0: Committed(None)})
    assert not any(telemetry.log_breaks.values()), "a first start is not a break"
    brokers.logs[0] = LogBounds(0, 20, "b")
    assert check.is_another("b")
    assert not check.is_another("a")
    assert not check.is_another(None)
    assert (await check.begin({0: Committed(None)}))[0] == {0: 0}
    assert telemetry.log_breaks["recreated"] == 1
    assert not check.is_another("b")


async def test_a_recreated_topic_without_offsets_is_reported_once() -> None:
    telemetry = Telemetry()
    logs = {f"p{number}": LogBounds(0, 20, "b") for number in range(3)}
    check = LogCheck(TOPIC, Brokers(**logs), telemetry, {0: "a", 1: "b"})
    committed = {number: Committed(None) for number in range(3)}
    assert (await check.begin(committed))[0] == (await check.begin(committed))[0] == {0: 0, 1: 0, 2: 0}
    assert telemetry.log_breaks["recreated"] == 1


async def test_with_a_committed_offset_older_topic_ids_are_ignored() -> None:
    telemetry = Telemetry()
    check = LogCheck(TOPIC, Brokers(p0=LogBounds(0, 20, "b")), telemetry, {0: "a"})
    assert (await check.begin({0: Committed(7, "b")}))[0] == {0: 7}
    assert not any(telemetry.log_breaks.values())


async def test_without_topic_ids_an_offset_in_the_log_is_valid() -> None:
    check, telemetry = check_of(Brokers(p0=LogBounds(0, 9)))
    assert (await check.begin({0: Committed(5)}))[0] == {0: 5}
    assert check.metadata(0) == check.metadata(1) == ""
    assert not check.is_another(None)
    assert not telemetry.warnings()


async def test_a_fetch_out_of_range_continues_at_the_first_offset() -> None:
    brokers = Brokers(p0=LogBounds(0, 9, "a"))
    check, telemetry = check_of(brokers)
    await check.begin({0: Committed(5, "a")})
    assert await check.find_offset(0, 5) == 5, "the offset is in range again"
    brokers.logs[0] = LogBounds(7, 9, "a")
    assert await check.find_offset(0, 5) == 7
    assert telemetry.drops["retention"] == 2
    assert check.is_trusted(0)


@pytest.mark.parametrize("log", [LogBounds(0, 3, "a"), LogBounds(0, 9, "b")])
async def test_a_partition_with_a_changed_log_is_reopened_first(log: LogBounds) -> None:
    brokers = Brokers(p0=LogBounds(0, 9, "a"), p1=LogBounds(0, 9, "a"))
    check, _ = check_of(brokers)
    await check.begin({0: Committed(5, "a"), 1: Committed(5, "a")})
    brokers.logs[0] = log
    assert await check.find_offset(0, 5) is None
    assert [check.is_trusted(number) for number in (0, 1)] == [False, True]
    assert await check.committable({0: 5, 1: 6}) == {1: 6}
    await check.begin({0: Committed(5, "a"), 1: Committed(6, "a")})
    assert check.is_trusted(0)


async def test_no_offset_of_a_deleted_topic_is_committed() -> None:
    brokers = Brokers(p0=LogBounds(0, 9, "a"))
    check, _ = check_of(brokers)
    await check.begin({0: Committed(5, "a")})
    assert await check.committable({0: 9}) == {0: 9}
    assert await check.committable({0: 10}) == {}, "an offset beyond the end of the log is not committed"
    assert await check.committable({}) == {}
    await check.close()
    assert await check.committable({0: 9}) == {}


@pytest.mark.parametrize("trouble", [TimeoutError(), KafkaConnectionError("no broker")])
async def test_commits_continue_while_the_log_can_t_be_read(trouble: Exception) -> None:
    brokers = Brokers(p0=LogBounds(0, 9, "a"), p1=LogBounds(0, 9, "a"))
    check, _ = check_of(brokers)
    await check.begin({0: Committed(5, "a"), 1: Committed(5, "a")})
    brokers.logs[1] = LogBounds(0, 3, "a")
    assert await check.find_offset(1, 5) is None
    brokers.trouble = trouble
    assert await check.committable({0: 7, 1: 7}) == {0: 7}, "a fetch of partition 1 was out of range before"


async def test_a_partition_without_a_leader_is_read_and_committed() -> None:
    check, telemetry = check_of(Brokers(p0=LogBounds.unseen("a"), p1=LogBounds.unseen("a")))
    assert (await check.begin({0: Committed(5, "a"), 1: Committed(None)}))[0] == {0: 5, 1: 0}
    assert await check.find_offset(0, 5) == 5
    assert await check.committable({0: 7}) == {0: 7}
    assert not telemetry.warnings()


async def test_a_recreated_topic_is_recognised_without_a_leader() -> None:
    check, telemetry = check_of(Brokers(p0=LogBounds.unseen("b")))
    assert (await begun(check, telemetry, {0: Committed(5, "a")}))[0] == {0: 0}
    assert telemetry.log_breaks["recreated"] == 1


@pytest.mark.parametrize(
    ("offset", "metadata", "committed"),
    [
        (-1, "", Committed(None)),
        (0, "topic-id=a", Committed(0, "a")),
        (7, "", Committed(7, begun_to=LARGEST_OFFSET)),
        (7, None, Committed(7, begun_to=LARGEST_OFFSET)),
        (7, "somebody's own", Committed(7, begun_to=LARGEST_OFFSET)),
        (7, "begun-to=0", Committed(7)),
        (7, "settled=1:7:eAGTAgAAGwAb;topic-id=a", Committed(7, "a", "1:7:eAGTAgAAGwAb")),
        (7, "settled=whatever", Committed(7, None, "whatever")),
        (7, "settled=1:7:eAGTAgAAGwAb;topic-id=a;begun-to=5", Committed(7, "a", "1:7:eAGTAgAAGwAb", 5)),
        (7, "begun-to=12", Committed(7, None, None, 12)),
        (7, "begun-to=-1;topic-id=a", Committed(7, "a")),
    ],
)
def test_the_note_of_a_committed_offset_is_read(offset: int, metadata: str | None, committed: Committed) -> None:
    assert Committed.read(offset, metadata) == committed


async def ahead_after(metadata: str, log: LogBounds, offset: int = 4) -> int:
    """The offsets beyond a commit with this metadata that count as settled."""
    check, _ = check_of(Brokers(p0=log))
    _, logs = await check.begin({0: Committed.read(offset, metadata)})
    return logs[0].ahead


async def test_events_settled_after_the_offset_are_not_sent_again() -> None:
    check, _ = check_of(Brokers(p0=LogBounds(0, 9, "a")))
    await check.begin({0: Committed(4, "a")})
    assert check.metadata(0, 4, 0) == "topic-id=a", "the metadata is the same as in versions without notes"
    metadata = check.metadata(0, 4, 0b11010)
    assert metadata.endswith(";topic-id=a")
    assert await ahead_after(metadata, LogBounds(0, 9, "a")) == 0b11010


async def test_begun_to_is_committed_and_read_again() -> None:
    check, _ = check_of(Brokers(p0=LogBounds(0, 9, "a")))
    await check.begin({0: Committed(4)})
    metadata = check.metadata(0, 5, 0, 7)
    _, logs = await check.begin({0: Committed.read(5, metadata)})
    assert logs[0].begun_to == 7
    assert check.metadata(0, 5, 0b10, None).endswith(";topic-id=a")
    assert check.metadata(1, 5, 0b10, 7) == "begun-to=7", "begun-to is committed even if the topic id is unknown"


async def test_without_a_topic_id_no_note_is_written() -> None:
    check, _ = check_of(Brokers(p0=LogBounds(0, 9)))
    await check.begin({0: Committed(4)})
    assert check.metadata(0, 4, 0b11010) == ""


NOTE = f"settled={pack(4, 0b11010)}"


@pytest.mark.parametrize(
    ("metadata", "log", "offset", "problem"),
    [
        (f"{NOTE};topic-id=a", LogBounds(0, 9, "a"), 5, "it belongs to the offset '4'"),
        (f"{NOTE};topic-id=b", LogBounds(0, 9), 4, "it belongs to the topic with the id b, not None"),
        (NOTE, LogBounds(0, 9, "a"), 4, "it belongs to the topic with the id None, not a"),
        (NOTE, LogBounds(0, 9), 4, "it belongs to the topic with the id None, not None"),
        (f"{NOTE};topic-id=a", LogBounds(0, 8, "a"), 4, "the end of the log is unknown or before the end of the note"),
        (f"{NOTE};topic-id=a", LogBounds.unseen("a"), 4, "the end of the log is unknown or before the end of the note"),
        ("settled=2:4:new;topic-id=a", LogBounds(0, 9, "a"), 4, "its version is '2', allowed: '1'"),
        (f"{NOTE[:-2]};topic-id=a", LogBounds(0, 9, "a"), 4, ""),
    ],
)
async def test_a_note_of_another_offset_or_log_is_ignored_and_logged(
    metadata: str, log: LogBounds, offset: int, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert await ahead_after(metadata, log, offset) == 0
    [warning] = [record.getMessage() for record in caplog.records]
    assert warning.startswith(f"partition 0 of events: ignoring the note of events settled beyond the offset {offset}")
    assert problem in warning


async def test_a_note_of_a_former_topic_is_not_used() -> None:
    metadata = f"{NOTE};topic-id=a"
    assert await ahead_after(metadata, LogBounds(0, 90, "b")) == 0, "the topic was recreated"
    assert await ahead_after(metadata, LogBounds(6, 90, "a")) == 0, "retention has deleted the offsets"
    assert await ahead_after(metadata, LogBounds(0, 3, "a")) == 0, "the log was truncated"


async def test_a_note_is_not_used_after_an_offset_out_of_range() -> None:
    brokers = Brokers(p0=LogBounds(0, 9, "a"))
    check, _ = check_of(brokers)
    committed = Committed.read(4, f"{NOTE};topic-id=a")
    assert (await check.begin({0: committed}))[1][0].ahead == 0b11010
    brokers.logs[0] = LogBounds(0, 6, "a")
    assert await check.find_offset(0, 9) is None, "the log was truncated, so the partition has to be reopened"
    brokers.logs[0] = LogBounds(0, 20, "a")
    assert (await check.begin({0: committed}))[1][0].ahead == 0
    assert (await check.begin({0: committed}))[1][0].ahead == 0b11010, "the worker has committed since"


async def test_partitions_are_read_from_the_offset_they_were_opened_at() -> None:
    """The position of the consumer does not matter, because the consumer may have fetched and skipped events."""
    calls: list[tuple[str, object]] = []

    async def committed(_tps: list[TP]) -> dict[TP, Committed]:
        found = {0: Committed(0), 1: Committed(None), 2: Committed(7)}
        return {TP(TOPIC, number): each for number, each in found.items()}

    async def note(name: str, value: object) -> None:
        calls.append((name, value))

    brokers = Brokers(p0=LogBounds(0, 9, "a"), p1=LogBounds(2, 9, "a"), p2=LogBounds(0, 9, "a"))
    consumer = cast("Any", object.__new__(DeliveryConsumer))
    consumer.app = SimpleNamespace(
        expect_rows=lambda count: note("rows", count),
        parts=SimpleNamespace(
            log_checks=LogChecks({TOPIC: check_of(brokers)[0]}),
            sources=SimpleNamespace(
                topics=(TOPIC,), open=lambda places, _logs: note("open", places), offsets_to_commit=lambda: {2: 7}
            ),
        ),
    )
    consumer._thread = SimpleNamespace(committed=committed)
    consumer.assignment = lambda: {*(TP("events", number) for number in range(3)), TP("changelog", 0)}
    consumer.seek_wait = lambda places: note("seek", places)
    consumer.commit_settled = lambda offsets: note("commit", offsets)

    await DeliveryConsumer._open_assigned(consumer)

    places = {TP(TOPIC, 0): 0, TP(TOPIC, 1): 2, TP(TOPIC, 2): 7}
    assert calls == [
        ("seek", places),
        ("rows", 3),
        ("open", places),
        ("commit", {2: 7}),
    ]
    assert consumer._next_offsets == places, "gaps are looked for from there on"


async def test_events_deleted_after_a_committed_offset_0_are_counted() -> None:
    check, telemetry = check_of(Brokers(p0=LogBounds(4, 9, "a")))
    assert (await begun(check, telemetry, {0: Committed(0, "a")}))[0] == {0: 4}
    assert telemetry.drops["retention"] == 4


async def test_deleted_events_are_reported_only_on_opening() -> None:
    """The start of several workers causes several assignments. The same events would be counted after each of them."""
    check, telemetry = check_of(Brokers(p0=LogBounds(4, 9, "a")))
    for _ in range(2):
        assert (await check.begin({0: Committed(1, "a")}))[1][0].commit_break == Break("retention", 1, 4)
    assert not telemetry.drops["retention"]


async def test_offsets_are_compared_with_the_logs_of_their_topics() -> None:
    one, other = Brokers(p0=LogBounds(0, 9, "a")), Brokers(p0=LogBounds(0, 3, "b"), p1=LogBounds(0, 3, "b"))
    checks = LogChecks({"one": LogCheck("one", one, Telemetry()), "other": LogCheck("other", other, Telemetry())})
    positions, logs = await checks.begin({TP("other", 1): Committed(2, "b"), TP("one", 0): Committed(5, "a")})
    assert positions == {("other", 1): 2, ("one", 0): 5}
    assert {tp: log.topic_id for tp, log in logs.items()} == {("other", 1): "b", ("one", 0): "a"}
    offsets = {TopicPartition("one", 0): 8, TopicPartition("other", 0): 3, TopicPartition("other", 1): 8}
    assert await checks.committable(offsets) == {("one", 0): 8, ("other", 0): 3}, "offset 8 is after the other's end"
    assert await checks.committable({TopicPartition("one", 0): 8}) == {("one", 0): 8}
