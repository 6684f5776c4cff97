"""Ports for servers of the tests."""

import socket
from contextlib import ExitStack


def free_port() -> int:
    """A port that was free when it was checked."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def free_ports(count: int) -> int:
    """The first of *count* successive ports that were free when they were checked."""
    while True:
        with ExitStack() as stack:
            first = free_port()
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.create_server(("127.0.0.1", port)))
            except (OSError, OverflowError):
                continue
            return first
