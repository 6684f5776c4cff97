"""The common part of the pipeline's commands: settings and definition, quiet logs, a clean end."""

import logging.config
import signal
import sys

from pipeline.config.definition import Definition, configured_definition
from pipeline.config.settings import Settings
from pipeline.observability.logs import logging_config


def configured(*, level: str = "CRITICAL") -> tuple[Settings, Definition]:
    """Read the settings and the definition that they name, and set the log level to *level*.

    The log is quiet, because Kafka clients log each error that a command reports anyway. LOG_LEVEL=DEBUG shows their
    lines.

    Raises:
        ConfigurationError: the settings or the definition can't be used.
    """
    settings = Settings()
    logging.config.dictConfig(logging_config(settings.log_format, "DEBUG" if settings.log_level == "DEBUG" else level))
    return settings, configured_definition(settings)


def end_cleanly_on_signals() -> None:
    """Make SIGTERM and SIGINT end the process with exit code 0.

    When Faust runs, it handles these signals in the same way.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
