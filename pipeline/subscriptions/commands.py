"""Repeats the commands of earlier revisions in a header of each record of a subscription.

When the next revision is written, a command may not have been carried out yet: the owner of a partition may be looking
up an offset, or no worker may be running. The cursor row records which commands were carried out (core/commands.py).
"""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pydantic import TypeAdapter, ValidationError

from pipeline.config.schema import StrictModel
from pipeline.core.clock import rfc3339
from pipeline.core.subscription import Command, ReplayOffset, ReplayTimestamp, ResumeFrom, Skip
from pipeline.subscriptions import schema as wire
from pipeline.subscriptions.resolve import command_of

logger = logging.getLogger(__name__)

COMMANDS_HEADER: Final = "commands"
MOST_COMMANDS: Final = 100
"""The largest number of repeated commands. Older commands are left out, so that records do not grow without limit."""


class _Stored(StrictModel):
    revision: wire.Offset
    resume_from: wire.ResumeFrom


_LIST: Final = TypeAdapter(list[_Stored])


def merged(*several: Sequence[Command]) -> tuple[Command, ...]:
    """The newest `MOST_COMMANDS` of all commands, without repetitions, oldest first."""
    found = {command.revision: command for commands in several for command in commands}
    return tuple(found[revision] for revision in sorted(found)[-MOST_COMMANDS:])


def written(commands: Iterable[Command]) -> list[tuple[str, bytes]]:
    """The header that repeats *commands*; no header without commands."""
    stored = [{"revision": each.revision, "resumeFrom": _document(each.resume_from)} for each in commands]
    return [(COMMANDS_HEADER, json.dumps(stored, ensure_ascii=False).encode())] if stored else []


def read_commands(headers: Iterable[tuple[str, bytes]], revision: int) -> tuple[Command, ...]:
    """The commands that the record of *revision* repeats, oldest first. An unreadable header is logged and ignored."""
    for name, value in headers:
        if name == COMMANDS_HEADER:
            try:
                stored = _LIST.validate_json(value)
            except ValidationError:
                logger.warning(
                    "revision %d: the commands of earlier revisions that its record repeats can't be read, "
                    "and are not carried out",
                    revision,
                )
                return ()
            found = ((each.revision, command_of(each.resume_from, lambda topic: topic)) for each in stored)
            return merged([Command(given, what) for given, what in found if what is not None and given < revision])
    return ()


def _document(command: ResumeFrom) -> Mapping[str, object]:
    match command:
        case Skip(partition, offset, topic):
            return {"skip": {"topic": topic, "partition": partition, "offset": offset}}
        case ReplayOffset(partition, offset, discards, topic):
            return {"topic": topic, "partition": partition, "offset": offset, "discardWaiting": discards}
        case ReplayTimestamp(timestamp_ms, discards):
            return {"timestamp": rfc3339(timestamp_ms / 1000, "milliseconds"), "discardWaiting": discards}
