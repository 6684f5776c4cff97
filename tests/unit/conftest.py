"""Event loops of tests: asyncio's loop. Tests with sockets also run on uvloop, which workers use."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import pytest
import uvloop

ON_BOTH_LOOPS: Final = frozenset(
    {
        "http/test_burst.py",
        "http/test_cut.py",
        "http/test_hostile.py",
        "http/test_proxies.py",
        "http/test_resolver.py",
        "http/test_socks.py",
        "http/test_tls.py",
        "http/test_tls_names.py",
        "http/test_transport.py",
        "kafka/test_prompt_tls.py",
    }
)
"""The modules that run on both loops, because connections end differently on them."""

ASYNCIO: Final = {"asyncio": asyncio.new_event_loop}


def pytest_asyncio_loop_factories(
    config: pytest.Config,  # noqa: ARG001 - the hook's signature
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """pytest-asyncio runs each asynchronous test once for each factory."""
    return {**ASYNCIO, "uvloop": uvloop.new_event_loop} if "/".join(item.path.parts[-2:]) in ON_BOTH_LOOPS else ASYNCIO
