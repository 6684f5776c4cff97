"""Log records: one line each, for people (console) or programs (json), with credentials masked.

`create_app` hands `logging_config(...)` to `faust.App(logging_config=...)`. Modules log sentences through
`logging.getLogger(__name__)`, or `Facts` where every value matters.
"""

import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from pipeline.core.clock import rfc3339
from pipeline.core.errors import ConfigurationError
from pipeline.core.redaction import mask_cut
from pipeline.core.shown import safe
from pipeline.observability.instruments import LineLimit

LogFormat = Literal["console", "json"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
LEVELS: Final = get_args(LogLevel)
OURS: Final = ("pipeline", "agents")
FRAMEWORKS: Final = ("faust", "mode", "aiokafka", "aiohttp", "asyncio")
"""Loggers that speak of their own insides at INFO, Faust in coloured tables: from WARNING on, except at DEBUG."""

DUMPING: Final = "aiokafka.conn"
"""The logger that shows every request and answer at DEBUG, logins and events among them: from INFO on, always."""

FIELD_CHARACTERS: Final = 1024
"""How much of a text is written as one field of `Facts`."""

MESSAGE_CHARACTERS: Final = 4096
"""How much of a message is written."""

TRACEBACK_CHARACTERS: Final = 16_384
"""How much of a traceback, and of a stack, is written."""

_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/+@*#%")


@dataclass(frozen=True, slots=True)
class Facts:
    """A message of a name and values: `logger.info(Facts("delivery.attempted", {"subscription": "s"}))`.

    As text it is `name key=value ...` on one line; `JsonFormatter` writes every value as a field. Values that are
    None are left out.
    """

    name: str
    values: Mapping[str, Any]

    def __str__(self) -> str:
        return " ".join((self.name, *(f"{key}={_word(value)}" for key, value in self._known())))

    def fields(self) -> dict[str, Any]:
        """The values that are known."""
        return dict(self._known())

    def masked(self) -> "Facts":
        """The same with credentials masked in every text, and long texts cut."""
        return Facts(_shown(self.name), {key: _shown(value) for key, value in self._known()})

    def _known(self) -> list[tuple[str, Any]]:
        return [(key, value) for key, value in self.values.items() if value is not None]


def _shown(value: Any) -> Any:
    """*value*, if it is a text or will be written as one: cut, and masked; numbers as they are."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return mask_cut(value if isinstance(value, str) else str(value), FIELD_CHARACTERS)


def _word(value: object) -> str:
    """*value* as one word: quoted as JSON is unless it is plain, so that no id can forge a field or a line."""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if text and _PLAIN.issuperset(text) else json.dumps(text)


class MaskCredentials(logging.Filter):
    """Masks what looks like a credential in message, traceback and stack of every record; lets all records pass.

    Long texts are cut first: what a stranger writes must not take the event loop, nor fill the log.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite *record* where need be."""
        if isinstance(record.msg, Facts):
            record.msg = record.msg.masked()
        else:
            record.msg = mask_cut(_message(record), MESSAGE_CHARACTERS)
        record.args = None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = mask_cut(record.exc_text, TRACEBACK_CHARACTERS)
        if record.stack_info:
            record.stack_info = mask_cut(record.stack_info, TRACEBACK_CHARACTERS)
        return True


class ThinOut(logging.Filter):
    """Lets what others' libraries say again and again through once in a while, and says how much was left out.

    With all brokers away aiokafka alone writes hundreds of lines a second, two or three different ones.

    Args:
        limit: how often a line may come.
    """

    def __init__(self, limit: LineLimit | None = None) -> None:
        super().__init__()
        self._limit = LineLimit() if limit is None else limit
        self._lock = threading.Lock()  # Faust's consumer runs, and logs, in a thread of its own

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether *record* is written."""
        if record.name.partition(".")[0] in OURS:
            return True
        message = _message(record)
        with self._lock:
            left_out = self._limit.passes((record.name, record.levelno, message[:FIELD_CHARACTERS]))
        if left_out:
            record.msg, record.args = f"{message} ({left_out} more like it were left out)", None
        return left_out is not None


def _message(record: logging.LogRecord) -> str:
    """The message; where its arguments don't fit, both as they are: a broken log call must not lose a line."""
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return f"{record.msg} {record.args!r}"


class ConsoleFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.000Z INFO    pipeline.core.lane: message`; only a traceback takes further lines."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as text. Control characters are escaped: what others wrote can't paint or forge a line."""
        line = f"{_time(record)} {record.levelname:<7} {record.name}: {safe(_message(record))}"
        return "\n".join((line, *(safe(text, keep="\n") for text in _details(record))))


class JsonFormatter(logging.Formatter):
    """One JSON object per record: time, level, logger, message, the values of `Facts`, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as one line of JSON."""
        facts = record.msg if isinstance(record.msg, Facts) else None
        entry: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": facts.name if facts else _message(record),
        }
        entry = {**(facts.fields() if facts else {}), **entry}
        details = _details(record)
        if details:
            entry["exception"] = "\n".join(details)
        return json.dumps(entry, default=str)


def _time(record: logging.LogRecord) -> str | None:
    return rfc3339(record.created, "milliseconds")


def _details(record: logging.LogRecord) -> list[str]:
    if record.exc_info and not record.exc_text:
        record.exc_text = logging.Formatter().formatException(record.exc_info)
    return [text for text in (record.exc_text, record.stack_info) if text]


_FORMATTERS: Final[Mapping[str, type[logging.Formatter]]] = {"console": ConsoleFormatter, "json": JsonFormatter}


def logging_config(log_format: LogFormat = "console", level: str = "INFO") -> dict[str, Any]:
    """A configuration for `logging.config.dictConfig` (and so for Faust): everything to stderr.

    Args:
        log_format: WEBHOOKS_LOG_FORMAT.
        level: WEBHOOKS_LOG_LEVEL; Faust's `--loglevel` changes nothing for the loggers named here.

    Raises:
        ConfigurationError: a value that is not allowed.
    """
    problems = []
    if log_format not in _FORMATTERS:
        problems.append(f"LOG_FORMAT: {log_format!r} is none of {', '.join(_FORMATTERS)}")
    if level.upper() not in LEVELS:
        problems.append(f"LOG_LEVEL: {level!r} is none of {', '.join(LEVELS)}")
    if problems:
        raise ConfigurationError(problems)
    level = level.upper()
    quiet = "WARNING" if level == "INFO" else level
    handler = {
        "class": "logging.StreamHandler",
        "stream": "ext://sys.stderr",
        "formatter": "line",
        # At DEBUG somebody looks for what happens in the libraries, and when.
        "filters": ["mask"] if level == "DEBUG" else ["thin-out", "mask"],
    }
    # Faust's worker turns the root logger to DEBUG and its first handler to `--loglevel` (WARN unless given), for a
    # spinner. So the loggers that matter don't hang on the root: their lines would be lost, and paid for all the same.
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"mask": {"()": MaskCredentials}, "thin-out": {"()": ThinOut}},
        "formatters": {"line": {"()": _FORMATTERS[log_format]}},
        "handlers": {"stderr": handler, "others": {**handler, "level": quiet}},
        "root": {"level": level, "handlers": ["others"]},
        "loggers": {
            DUMPING: {"level": "INFO" if level == "DEBUG" else quiet},
            **{
                name: {"level": level if name in OURS else quiet, "handlers": ["stderr"], "propagate": False}
                for name in (*OURS, *FRAMEWORKS)
            },
        },
    }
