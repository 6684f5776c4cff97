"""The common part of the pipeline's commands: settings and definition, quiet logs, a clean end."""

import logging.config
import signal
import sys

from pipeline.config.definition import Definition, configured_definition
from pipeline.config.settings import Settings
from pipeline.observability.logs import logging_config


def configured(*, level: str = "CRITICAL") -> tuple[Settings, Definition]:
    """The settings, and the definition that they name; sets the log level to *level*.

    A command reports an error once; LOG_LEVEL=DEBUG also shows the lines of the Kafka clients.

    Raises:
        ConfigurationError: settings or definition can't be used.
    """
    settings = Settings()
    logging.config.dictConfig(logging_config(settings.log_format, "DEBUG" if settings.log_level == "DEBUG" else level))
    return settings, configured_definition(settings)


def end_cleanly_on_signals() -> None:
    """Make SIGTERM and SIGINT end the process with exit code 0, as Faust does once it handles them."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
