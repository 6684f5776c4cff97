"""What the own commands share: settings and definition, quiet logs, and errors as sentences."""

import contextlib
import logging.config
import signal
import sys
from collections.abc import Iterator

import click

from pipeline.config.definition import Definition, load_definition
from pipeline.config.settings import Settings
from pipeline.core.errors import WebhooksError
from pipeline.core.shown import safe
from pipeline.observability.logs import logging_config


@contextlib.contextmanager
def errors_as_sentences() -> Iterator[None]:
    """What goes wrong on purpose is said on stderr and makes exit code 1."""
    try:
        yield
    except WebhooksError as error:
        raise click.ClickException(safe(str(error), keep="\n")) from None


def configured(*, level: str = "CRITICAL") -> tuple[Settings, Definition]:
    """The settings and the definition they name; from now on the log has lines from *level* up.

    A command says itself what is wrong, once; LOG_LEVEL=DEBUG shows what the clients of Kafka say as well.

    Raises:
        ConfigurationError: one of them can't be used.
    """
    settings = Settings()
    logging.config.dictConfig(logging_config(settings.log_format, "DEBUG" if settings.log_level == "DEBUG" else level))
    return settings, load_definition(settings.api, settings.bootstrap_servers, settings.key_store_dir)


def end_cleanly_on_signals() -> None:
    """SIGTERM and SIGINT end the process with exit code 0, as they do once Faust listens to them itself."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
