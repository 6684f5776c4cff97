"""Which unawaited errors a worker logs."""

import asyncio
import socket

import pytest
from faust.tables.recovery import ServiceStopped

from pipeline.worker import log_unawaited


async def leave(error: Exception) -> None:
    """Drop the last reference to a failed future, on which the loop calls its exception handler at once."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_unawaited)
    loop.create_future().set_exception(error)


@pytest.mark.parametrize("error", [ServiceStopped(), socket.gaierror(-2, "Name or service not known")], ids=repr)
async def test_expected_errors_of_libraries_are_not_logged(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    await leave(error)

    assert caplog.messages == []


async def test_any_other_error_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    await leave(OSError("no such thing"))

    assert "Future exception was never retrieved" in caplog.text
    assert "no such thing" in caplog.text


async def test_a_task_that_can_not_look_up_a_name_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def look_up() -> None:
        raise socket.gaierror(-2, "Name or service not known")

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_unawaited)
    task = loop.create_task(look_up())
    await asyncio.wait({task})
    del task

    assert "Task exception was never retrieved" in caplog.text
