"""Checks whether the address of the pages can be bound. If not, the error names the setting to change."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.config.settings import Settings
from pipeline.core.errors import ConfigurationError


@contextmanager
def explained(host: str, port: int) -> Iterator[None]:
    """A context whose block binds this address. Its errors are explained.

    Raises:
        ConfigurationError: raised in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise ConfigurationError(_problem(host, port, error)) from None


def check_web_port(settings: Settings) -> None:
    """Check that the pages can be served, before anything starts.

    Raises:
        ConfigurationError: the address can't be bound.
    """
    family = socket.AF_INET6 if ":" in settings.web_bind else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with explained(settings.web_bind, settings.web_port):
            listener.bind((settings.web_bind, settings.web_port))


def _problem(host: str, port: int, error: OSError) -> str:
    where = f"{f'[{host}]' if ':' in host else host}:{port}"
    if isinstance(error, socket.gaierror):
        return f"WEBHOOKS_WEB_BIND: {where} can't be bound: cannot resolve host; use an address of this machine"
    reason = str(error) if error.errno is None else os.strerror(error.errno).lower()
    if error.errno == errno.EADDRNOTAVAIL:
        return f"WEBHOOKS_WEB_BIND: {where} can't be bound: {reason}; use an address of this machine"
    allowed = "a port from 1024 on" if error.errno == errno.EACCES else "another port"
    return f"WEBHOOKS_WEB_PORT: {where} can't be bound: {reason}; use {allowed} (--web-port), or --without-web"
