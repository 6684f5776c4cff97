"""A stop that does not end: the process ends, and the log says what it waited for."""

import asyncio
import logging
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.runtime.stop_deadline import end_after

STUCK = """
import asyncio, logging, sys, threading
import faust
from mode import Service
from pipeline import worker

class Offline(faust.App):
    def on_init_dependencies(self):
        return []

class Stuck(Service):
    async def on_start(self):
        print("started", file=sys.__stdout__, flush=True)
    async def on_stop(self):
        if sys.argv[1] == "waits":
            await self.never()
        threading.Event().wait()
    async def never(self):
        await asyncio.Event().wait()

worker.STOP_SECONDS = 0.5
app = Offline("stuck", datadir=sys.argv[2])
worker.LogWorker(app, Stuck(), loglevel="INFO").execute_from_commandline()
"""


def deeper(turn: asyncio.Future[None]) -> asyncio.Future[None]:
    return turn


async def waiting_in_vain(turn: asyncio.Future[None]) -> None:
    await deeper(turn)


async def outer(turn: asyncio.Future[None]) -> None:
    await waiting_in_vain(turn)


async def test_a_stop_that_hangs_logs_what_each_task_waits_for(caplog: pytest.LogCaptureFixture) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    turn = loop.create_future()
    task = loop.create_task(outer(turn), name="the stuck one")
    await asyncio.sleep(0)  # it begins to wait

    with caplog.at_level(logging.CRITICAL):
        end_after(0, loop, lambda code: loop.call_soon_threadsafe(ended.set) if code == 1 else None)
        await ended.wait()
    turn.set_result(None)
    await task

    said = next(record.getMessage() for record in caplog.records if "the stuck one" in record.getMessage())
    assert "outer:" in said
    assert said.index("outer:") < said.index("waiting_in_vain:")


async def test_a_stop_that_hangs_logs_what_each_thread_waits_for(caplog: pytest.LogCaptureFixture) -> None:
    loop, ended, free = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    thread = threading.Thread(target=free.wait, name="the stuck thread")
    thread.start()

    with caplog.at_level(logging.CRITICAL):
        end_after(0, loop, lambda _: loop.call_soon_threadsafe(ended.set))
        await ended.wait()
    free.set()
    thread.join()

    assert any("the stuck thread" in each and "threading.wait:" in each for each in caplog.messages)
    said = next(each for each in caplog.messages if "the stuck thread" in each)
    assert said.index("threading.run:") < said.index("threading.wait:")


@pytest.mark.parametrize("how", ["waits", "blocks the loop"])
def test_a_worker_whose_stop_hangs_exits(how: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", STUCK, how, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        assert "started\n" in process.stdout  # before this line, SIGTERM would end the process at once
        process.send_signal(signal.SIGTERM)
        said = process.stdout.read()

    assert process.returncode == 1
    assert "worker.stop_overdue" in said
    assert ("never" if how == "waits" else "threading.wait") in said
