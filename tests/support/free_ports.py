"""Ports for servers of the tests."""

import random
import socket
from contextlib import ExitStack
from typing import Final

_PORTS: Final = range(10_000, 32_768)
"""Linux takes the ports of outgoing connections, of which the tests make thousands, from higher ones. Any of those may
be taken between its check and its use."""
_RANDOM: Final = random.SystemRandom()  # not seeded, so that tests in parallel try different ports


def free_port() -> int:
    """A port that was free when it was checked."""
    return free_ports(1)


def free_ports(count: int) -> int:
    """The first of *count* successive ports that were free when they were checked."""
    while True:
        with ExitStack() as stack:
            first = _RANDOM.choice(_PORTS[: 1 - count or None])
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            return first
