"""The header that repeats the commands of earlier revisions is read back; invalid headers are ignored."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.subscription import Command, ReplayOffset, ReplayTimestamp, Skip
from pipeline.subscriptions.commands import COMMANDS_HEADER, MOST_COMMANDS, merged, read_commands, written

NEWEST = 2**40

partitions = st.integers(0, 2**31 - 1)
offsets = st.integers(0, 2**63 - 2)
topics = st.none() | st.sampled_from(["orders", "payments"])
commands = st.lists(
    st.builds(
        Command,
        st.integers(0, NEWEST - 1),
        st.builds(Skip, partitions, offsets, topics)
        | st.builds(ReplayOffset, partitions, offsets, st.booleans(), topics)
        | st.builds(ReplayTimestamp, st.integers(0, 4_000_000_000_000), st.booleans()),
    ),
    max_size=8,
)


@given(commands)
def test_written_commands_are_read_back(some: list[Command]) -> None:
    assert read_commands([("fields", b"status"), *written(merged(some))], NEWEST) == merged(some)


def test_without_commands_there_is_no_header() -> None:
    assert written(()) == []


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"null",
        b"[" * 50_000,
        b'[{"revision": 1}]',
        b'[{"revision": -1, "resumeFrom": {"partition": 0, "offset": 1}}]',
        b'[{"revision": 1, "resumeFrom": {"partition": 0, "offset": -5}}]',
        b'[{"revision": 1, "resumeFrom": {"timestamp": "never"}}]',
        b"\xff",
    ],
)
def test_an_invalid_header_is_logged_and_ignored(value: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert read_commands([(COMMANDS_HEADER, value)], 7) == ()
    assert "revision 7: the commands of earlier revisions that its record repeats can't be read" in caplog.text


def test_a_record_keeps_only_commands_of_earlier_revisions() -> None:
    given = [Command(revision, Skip(0, 1)) for revision in (3, 4, 5)]
    assert read_commands(written(given), 4) == (given[0],)


def test_each_command_is_kept_once_in_order_and_up_to_a_limit() -> None:
    one, two, three = (Command(revision, Skip(0, revision)) for revision in (1, 2, 3))
    assert merged([two, three], [one, two]) == (one, two, three)
    many = [Command(revision, Skip(0, 0)) for revision in range(MOST_COMMANDS + 5)]
    assert merged(many) == tuple(many[5:])
