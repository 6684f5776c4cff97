"""Log records: observability/logs.py."""

import io
import json
import logging
import logging.config
from collections.abc import Iterator
from typing import Any

import faust
import pytest

from pipeline.core.errors import ConfigurationError
from pipeline.observability.instruments import LineLimit
from pipeline.observability.logs import DUMPING, FRAMEWORKS, OWN, Facts, LogFormat, ThinOut, logging_config


class Log:
    """The tested configuration, which writes to memory."""

    def __init__(self, log_format: LogFormat, level: str = "INFO") -> None:
        self.stream = io.StringIO()
        config = logging_config(log_format, level)
        for handler in config["handlers"].values():
            handler["stream"] = self.stream
        logging.config.dictConfig(config)
        self.logger = logging.getLogger("pipeline.test")

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def entry(self) -> dict[str, Any]:
        (line,) = self.text.splitlines()
        return dict(json.loads(line))


def fail(message: str) -> None:
    raise ValueError(message)


def log_failure(log: Log, message: str) -> None:
    """Log an exception with its traceback."""
    try:
        fail(message)
    except ValueError:
        log.logger.exception("failed")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in (None, *OWN, *FRAMEWORKS)]
    before = [(logger.level, list(logger.handlers), logger.propagate) for logger in loggers]
    yield
    for logger, (level, handlers, propagate) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers
        logger.propagate = propagate


def test_console_writes_a_record_on_one_line() -> None:
    log = Log("console")

    log.logger.info("partition %d is open", 3)

    time, rest = log.text.split(" ", 1)
    assert rest == "INFO    pipeline.test: partition 3 is open\n"
    assert time.endswith("Z")


def test_the_console_escapes_control_characters() -> None:
    log = Log("console")

    log.logger.info("key %s", "a\n2026 ERROR forged\x1b[31m\u2028x")

    assert log.text.count("\n") == 1
    assert r"key a\n2026 ERROR forged\x1b[31m\u2028x" in log.text


def test_the_console_escapes_tracebacks() -> None:
    log = Log("console")

    try:
        int("\u202e")
    except ValueError as error:
        error.add_note("\x1b[31m\u202e")
        log.logger.exception("failed")

    assert r"\x1b[31m\u202e" in log.text
    assert log.text.replace("\n", "").isprintable()


def test_facts_are_text_on_the_console_and_fields_in_json() -> None:
    facts = Facts("delivery.attempted", {"subscription": "a b=\n", "offset": 4, "seconds": 0.25, "error": None})
    console = Log("console")
    console.logger.info(facts)
    json_log = Log("json")
    json_log.logger.info(facts)

    assert console.text.endswith(': delivery.attempted subscription="a b=\\n" offset=4 seconds=0.25\n')
    entry = json_log.entry
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "INFO",
        "logger": "pipeline.test",
        "message": "delivery.attempted",
        "subscription": "a b=\n",
        "offset": 4,
        "seconds": 0.25,
    }


def test_a_fact_cannot_replace_the_level_of_a_json_record() -> None:
    log = Log("json")

    log.logger.info(Facts("x", {"level": "CRITICAL"}))

    assert log.entry["level"] == "INFO"


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_credentials_are_masked_in_every_part_of_a_line(log_format: LogFormat) -> None:
    log = Log(log_format)

    log.logger.info("calling %s", "https://u:hunter2@example.com")
    log.logger.info(Facts("x", {"error": "Authorization: Bearer hunter2"}))
    log_failure(log, "the answer was password=hunter2")

    assert "hunter2" not in log.text
    assert log.text.count("***") == 3
    assert "ValueError" in log.text


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_untrusted_text_takes_a_few_kilobytes_of_a_line(log_format: LogFormat) -> None:
    log = Log(log_format)

    log.logger.info(Facts("x", {"subscription": "-eyJ" * 250_000, "key": b"-eyJ" * 250_000}))
    log.logger.info("lane %r", "-eyJ" * 250_000)
    log_failure(log, "-eyJ" * 250_000)

    assert len(log.text) < 32_768
    assert log.text.count("(1000000 characters)") == 1


def test_json_has_the_traceback_on_the_same_line() -> None:
    log = Log("json")
    log_failure(log, "broken")

    assert log.entry["message"] == "failed"
    assert log.entry["exception"].endswith("ValueError: broken")


def test_a_log_call_with_the_wrong_arguments_still_leaves_a_line() -> None:
    log = Log("console")

    template = "%d of %d"
    log.logger.info(template, "x")

    assert log.text.endswith(": %d of %d ('x',)\n")


@pytest.mark.parametrize(("level", "quiet"), [("DEBUG", "DEBUG"), ("INFO", "WARNING"), ("ERROR", "ERROR")])
def test_faust_logs_less_than_the_pipeline_except_at_debug(level: str, quiet: str) -> None:
    Log("console", level)

    assert logging.getLevelName(logging.getLogger("faust.app").getEffectiveLevel()) == quiet
    assert logging.getLevelName(logging.getLogger("mode").getEffectiveLevel()) == quiet
    assert logging.getLevelName(logging.getLogger("pipeline.core.lane").getEffectiveLevel()) == level


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "ERROR"])
def test_kafka_requests_and_answers_are_never_logged(level: str) -> None:
    log = Log("console", level)

    logging.getLogger(DUMPING).debug("Request to 127.0.0.1:9 3: SaslAuthenticateRequest_v1(b'me hunter2')")
    logging.getLogger(DUMPING).error("the connection broke")

    assert "hunter2" not in log.text
    assert log.text.endswith("aiokafka.conn: the connection broke\n")
    assert len(log.text.splitlines()) == 1


def test_the_log_level_of_faust_hides_no_line() -> None:
    """Without `--loglevel`, `faust worker` takes the level WARN, but sets the root logger to DEBUG."""
    stream = io.StringIO()
    config = logging_config("console", "INFO")
    for handler in config["handlers"].values():
        handler["stream"] = stream
    app = faust.App("log", broker="kafka://127.0.0.1:9", logging_config=config, worker_redirect_stdouts=False)
    worker = faust.Worker(app, loglevel="WARN", stdout=io.StringIO())  # Faust writes to this stream when it exits
    worker._setup_logging()

    ours = logging.getLogger("pipeline.test")
    ours.info("ours")
    logging.getLogger("faust.app").info("a table")
    logging.getLogger("somebody").debug("a detail")
    logging.getLogger("somebody").warning("theirs")

    assert [line.rsplit(": ", 1)[1] for line in stream.getvalue().splitlines()] == ["ours", "theirs"]
    assert not ours.isEnabledFor(logging.DEBUG)


def test_errors_about_format_and_level_say_what_is_allowed() -> None:
    with pytest.raises(ConfigurationError) as raised:
        logging_config("xml", "LOUD")  # type: ignore[arg-type]  # a mistake that a user may make

    assert raised.value.problems == [
        "LOG_FORMAT: 'xml' is not one of console, json",
        "LOG_LEVEL: 'LOUD' is not one of DEBUG, INFO, WARNING, ERROR, CRITICAL",
    ]


# ------------------------------------------------------------------- repeated messages of libraries


class Watch:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def lines_of(name: str, *messages: str, watch: Watch, thinner: ThinOut) -> list[str]:
    """The lines that are written for *messages*, one a second."""
    written = []
    for message in messages:
        record = logging.LogRecord(name, logging.ERROR, __file__, 1, "%s", (message,), None)
        if thinner.filter(record):
            written.append(record.getMessage())
        watch.now += 1.0
    return written


def test_a_repeated_library_line_comes_once_in_ten_seconds() -> None:
    watch = Watch()
    thinner = ThinOut(LineLimit(10.0, monotonic=watch))
    assert lines_of("aiokafka", *["node 1 is away"] * 25, watch=watch, thinner=thinner) == [
        "node 1 is away",
        "node 1 is away (9 similar lines suppressed)",
        "node 1 is away (9 similar lines suppressed)",
    ]


def test_different_lines_of_a_library_are_not_suppressed() -> None:
    watch = Watch()
    thinner = ThinOut(LineLimit(10.0, monotonic=watch))
    messages = ["node 1 is away", "node 2 is away", "node 1 is away", "node 2 is away"]
    assert lines_of("aiokafka.conn", *messages, watch=watch, thinner=thinner) == messages[:2]


def test_the_pipeline_s_own_lines_are_not_suppressed() -> None:
    watch = Watch()
    thinner = ThinOut(LineLimit(10.0, monotonic=watch))
    for name in ("pipeline", "pipeline.core.lane", "agents"):
        assert len(lines_of(name, *["again"] * 3, watch=watch, thinner=thinner)) == 3


@pytest.mark.parametrize(("level", "lines"), [("INFO", 1), ("DEBUG", 5)])
def test_repeated_lines_are_suppressed_except_at_debug(level: str, lines: int) -> None:
    log = Log("console", level)
    for _ in range(5):
        logging.getLogger("aiokafka.consumer").error("node %d is away", 1)
    assert len(log.text.splitlines()) == lines
