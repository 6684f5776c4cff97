"""The file of `webhooks backup`: JSON lines with a header, the application's stored state, and an end.

    {"kind": "backup", "version": 1, "app": "orders", "madeAt": "…", "program": "1.2.3", "topics": {"events": "<id>"}}
    {"kind": "commit", "topic": "events", "partition": 0, "offset": 120, "metadata": "topic-id=…"}
    {"kind": "row", "partition": 0, "key": "sub-1", "value": "{…}"}
    {"kind": "subscription", "key": "sub-1", "revision": 7, "value": "{…}"}
    {"kind": "end", "lines": 4}

Secrets stay encrypted. Keys and values that are not UTF-8 are objects: {"base64": "…"}. Unknown fields are ignored, so
later versions of the program may add fields. The version is increased if older versions of the program must not read
the file.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import shown
from pipeline.kafka.kept_state import Commit, Kept, KeptState

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was read.

    Attributes:
        made_at: when it was made, in RFC 3339.
        state: the stored state; `members` is empty.
    """

    app: str
    made_at: str
    state: KeptState


def as_lines(state: KeptState, *, app: str, made_at: str, program: str) -> Iterator[str]:
    """The lines of a backup.

    Args:
        state: the stored state of the application.
        app: the name of the application.
        made_at: RFC 3339.
        program: the version of the program that writes the backup.
    """
    header = {"version": VERSION, "app": app, "madeAt": made_at, "program": program, "topics": dict(state.topic_ids)}
    count = 1
    yield _line("backup", header)
    for kind, fields in _parts(state):
        yield _line(kind, fields)
        count += 1
    yield _line("end", {"lines": count})


def _parts(state: KeptState) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for (topic, partition), commit in state.commits.items():
        yield "commit", {"topic": topic, "partition": partition, **commit._asdict()}
    for row in state.rows:
        yield "row", {"partition": row.partition, "key": _text(row.key), "value": _text(row.value)}
    for each in state.subscriptions:
        yield "subscription", {"key": _text(each.key), "revision": each.offset, "value": _text(each.value)}


def _line(kind: str, fields: Mapping[str, Any]) -> str:
    return json.dumps({"kind": kind, **fields}, ensure_ascii=False, separators=(",", ":"))


def _text(value: bytes) -> str | dict[str, str]:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def read_lines(lines: Iterable[str]) -> Backup:
    """Read a backup from its lines.

    Raises:
        ConfigurationError: the backup is damaged or incomplete, or this version can't read it. The error names the
            line.
    """
    reading = _Reading()
    for number, line in enumerate(lines, 1):
        try:
            reading.take(number, _object(line))
        except KeyError as error:
            raise ConfigurationError(f"line {number}: {error.args[0]}: is required") from None
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"line {number}: {error}") from None
    return reading.done()


def _object(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    if not isinstance(found, dict):
        raise TypeError("is not a JSON object")
    return found


class _Reading:
    """The lines read so far."""

    def __init__(self) -> None:
        self._header: dict[str, Any] | None = None
        self._commits: dict[tuple[str, int], Commit] = {}
        self._rows: list[Kept] = []
        self._subscriptions: list[Kept] = []
        self._is_whole = False

    def take(self, number: int, line: Mapping[str, Any]) -> None:
        """Add a line. Raises: KeyError, TypeError or ValueError, whose text says what is wrong with the line."""
        if self._is_whole:
            raise ValueError("comes after the end")
        kind = line["kind"]
        if (kind == "backup") != (number == 1):
            raise ValueError(
                'kind: must be "backup" in the first line and in no other: webhooks backup did not write this file'
            )
        match kind:
            case "backup":
                self._header = _header(line)
            case "commit":
                place = _str(line, "topic"), _int(line, "partition")
                self._commits[place] = Commit(_int(line, "offset"), _str(line, "metadata"))
            case "row":
                self._rows.append(Kept(_bytes(line, "key"), _int(line, "partition"), -1, _bytes(line, "value")))
            case "subscription":
                kept = Kept(_bytes(line, "key"), 0, _int(line, "revision"), _bytes(line, "value"))
                self._subscriptions.append(kept)
            case "end":
                if _int(line, "lines") != number - 1:
                    raise ValueError(f"lines: {line['lines']} were written, but the file has {number - 1}")
                self._is_whole = True
            case _:
                allowed = "backup, commit, row, subscription, end"
                raise ValueError(f"kind: {shown(kind)} is not allowed; allowed: {allowed}")

    def done(self) -> Backup:
        """The whole backup. Raises: ConfigurationError, if there is no end."""
        if self._header is None or not self._is_whole:
            raise ConfigurationError("the backup has no last line (kind: end): it is incomplete")
        subscriptions = sorted(self._subscriptions, key=lambda each: each.offset)
        state = KeptState(subscriptions, self._rows, self._commits, self._header["topics"])
        return Backup(self._header["app"], self._header["madeAt"], state)


def _header(line: Mapping[str, Any]) -> dict[str, Any]:
    if _int(line, "version") > VERSION:
        raise ValueError(f"version: {line['version']} is newer than {VERSION}, the newest that this program reads")
    topics = line["topics"]
    if not isinstance(topics, dict) or not all(each is None or isinstance(each, str) for each in topics.values()):
        raise ValueError("topics: must be an object with the id of each topic")
    return {"app": _str(line, "app"), "madeAt": _str(line, "madeAt"), "topics": topics}


def _str(line: Mapping[str, Any], name: str) -> str:
    if not isinstance(line[name], str):
        raise TypeError(f"{name}: must be a string")
    return str(line[name])


def _int(line: Mapping[str, Any], name: str) -> int:
    if isinstance(line[name], bool) or not isinstance(line[name], int) or line[name] < 0:
        raise ValueError(f"{name}: must be a whole number, 0 or more")
    return int(line[name])


def _bytes(line: Mapping[str, Any], name: str) -> bytes:
    value = line[name]
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and isinstance(value.get("base64"), str):
        try:
            return base64.b64decode(value["base64"], validate=True)
        except binascii.Error:
            pass
    raise ValueError(f'{name}: must be a string or {{"base64": "…"}}')
