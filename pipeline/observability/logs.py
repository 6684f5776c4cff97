"""Formats each log record as one line, for people (console) or programs (json), with masked credentials.

`create_app` passes `logging_config(...)` to `faust.App(logging_config=...)`. Modules log to
`logging.getLogger(__name__)`: sentences, or `Facts` if programs need each value.
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
OWN: Final = ("pipeline", "agents")
FRAMEWORKS: Final = ("faust", "mode", "aiokafka", "aiohttp", "asyncio")
"""Loggers that report internals at INFO. Unless the level is DEBUG, they log from WARNING on."""

DUMPING: Final = "aiokafka.conn"
"""The logger that writes all requests and answers at DEBUG, including logins and events. It logs from INFO on."""

FIELD_CHARACTERS: Final = 1024
"""The longest text that is written as one field of `Facts`."""

MESSAGE_CHARACTERS: Final = 4096
"""The longest message that is written."""

TRACEBACK_CHARACTERS: Final = 16_384
"""The longest traceback or stack that is written."""

_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/+@*#%")


@dataclass(frozen=True, slots=True)
class Facts:
    """A message that has a name and values: `logger.info(Facts("delivery.attempted", {"subscription": "s"}))`.

    Its text is `name key=value ...` on one line; `JsonFormatter` writes each value as a field. Values that are None
    are left out.
    """

    name: str
    values: Mapping[str, Any]

    def __str__(self) -> str:
        return " ".join((self.name, *(f"{key}={_word(value)}" for key, value in self._known())))

    def fields(self) -> dict[str, Any]:
        """The values that are not None."""
        return dict(self._known())

    def masked(self) -> "Facts":
        """The message with credentials masked and long texts cut."""
        return Facts(_shown(self.name), {key: _shown(value) for key, value in self._known()})

    def _known(self) -> list[tuple[str, Any]]:
        return [(key, value) for key, value in self.values.items() if value is not None]


def _shown(value: Any) -> Any:
    """*value* as text, cut and masked. Numbers are unchanged."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return mask_cut(value if isinstance(value, str) else str(value), FIELD_CHARACTERS)


def _word(value: object) -> str:
    """*value* as one word. It is quoted as JSON unless it is plain, so that no id can forge a field or a line."""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if text and _PLAIN.issuperset(text) else json.dumps(text)


class MaskCredentials(logging.Filter):
    """Masks apparent credentials in the message, traceback and stack of every record. Suppresses no record.

    Long texts are cut first, so that texts from outside can neither block the event loop nor fill the log.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite *record* if necessary. Returns True."""
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
    """Suppresses repeated lines of libraries, and adds the number of suppressed lines to the next one.

    While all brokers are unavailable, aiokafka alone writes two or three different lines hundreds of times a second.

    Args:
        limit: how often a line may be written.
    """

    def __init__(self, limit: LineLimit | None = None) -> None:
        super().__init__()
        self._limit = LineLimit() if limit is None else limit
        self._lock = threading.Lock()  # Faust's consumer logs from another thread

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether *record* is written."""
        if record.name.partition(".")[0] in OWN:
            return True
        message = _message(record)
        with self._lock:
            left_out = self._limit.passes((record.name, record.levelno, message[:FIELD_CHARACTERS]))
        if left_out:
            record.msg, record.args = f"{message} ({left_out} similar lines suppressed)", None
        return left_out is not None


def _message(record: logging.LogRecord) -> str:
    """The message. If the arguments don't fit the template, template and arguments, so that no line is lost."""
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return f"{record.msg} {record.args!r}"


class ConsoleFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.000Z INFO    pipeline.core.lane: message`; only a traceback adds lines."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as text. Control characters are escaped, so that no text can colour or forge a line."""
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
    """A configuration for `logging.config.dictConfig`, which Faust uses. Everything is written to stderr.

    Args:
        log_format: WEBHOOKS_LOG_FORMAT.
        level: WEBHOOKS_LOG_LEVEL; Faust's `--loglevel` does not affect the loggers named here.

    Raises:
        ConfigurationError: a value is not allowed.
    """
    problems = []
    if log_format not in _FORMATTERS:
        problems.append(f"LOG_FORMAT: {log_format!r} is not one of {', '.join(_FORMATTERS)}")
    if level.upper() not in LEVELS:
        problems.append(f"LOG_LEVEL: {level!r} is not one of {', '.join(LEVELS)}")
    if problems:
        raise ConfigurationError(problems)
    level = level.upper()
    quiet = "WARNING" if level == "INFO" else level
    handler = {
        "class": "logging.StreamHandler",
        "stream": "ext://sys.stderr",
        "formatter": "line",
        # At DEBUG, libraries log, too.
        "filters": ["mask"] if level == "DEBUG" else ["thin-out", "mask"],
    }
    # For its spinner, Faust's worker sets the root logger to DEBUG and the root's first handler to `--loglevel` (WARN
    # by default). Therefore the loggers named here don't propagate to the root, which would format their lines and drop
    # them.
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
                name: {"level": level if name in OWN else quiet, "handlers": ["stderr"], "propagate": False}
                for name in (*OWN, *FRAMEWORKS)
            },
        },
    }
