"""The supervisor of `webhooks cluster` with real processes: restarts, stops and exit codes."""

import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from tests.support.free_ports import free_ports
from tests.support.program import Running, Webhooks, application, started

SUPERVISED: Final = """
import asyncio, os, sys
from pipeline.cli.supervisor.log_lines import LogLines
from pipeline.cli.supervisor.supervisor import Member, Supervisor
from pipeline.observability.logs import logging_config
import logging.config
logging.config.dictConfig(logging_config())
members = [Member(name, "", dict(os.environ, NAME=name)) for name in ("worker-1", "worker-2")]
supervisor = Supervisor((sys.executable, "-c", sys.argv[1]), members, LogLines(sys.stderr, "console"))
sys.exit(0 if asyncio.run(supervisor.run()) else 1)
"""

SLEEP: Final = "import os, time; print('runs as', os.getpid(), flush=True); time.sleep(600)"
ONE_ENDS: Final = f"import os\nif os.environ['NAME'] == 'worker-1': raise SystemExit(3)\n{SLEEP}"
STUBBORN: Final = f"import signal; signal.signal(signal.SIGTERM, lambda *_: print('no', flush=True)); {SLEEP}"


@asynccontextmanager
async def supervised(program: str) -> AsyncIterator[Running]:
    async with started(sys.executable, "-c", SUPERVISED, program, settings={}) as running:
        try:
            yield running
        finally:
            # The workers keep the output open, so they are killed, too. The supervisor goes first, because it would
            # start them again.
            if running.process.returncode is None:
                running.process.kill()
            for pid in re.findall(r"runs as (\d+)", "\n".join(running.output)):
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)


async def pid_of(running: Running, name: str, *, after: int = 0) -> int:
    return int((await running.line(f"{name} | runs as", after=after)).split()[-1])


async def test_a_clean_stop_of_workers_and_supervisor_exits_with_0() -> None:
    async with supervised(SLEEP) as running:
        for name in ("worker-1", "worker-2"):
            await pid_of(running, name)

        assert await running.stop(signal.SIGTERM) == 0
        await running.line("cluster.stopped workers=2 restarts=0")


async def test_a_worker_that_was_killed_is_started_again() -> None:
    async with supervised(SLEEP) as running:
        await pid_of(running, "worker-1")
        first = await pid_of(running, "worker-2")
        so_far = len(running.output)

        os.kill(first, signal.SIGKILL)

        line = await running.line("worker.restarting", after=so_far)
        assert 'worker=worker-2 ended="signal 9" restart=1 pause_seconds=1' in line
        assert await pid_of(running, "worker-2", after=so_far) != first
        assert await running.stop(signal.SIGINT) == 0
        await running.line("cluster.stopped workers=2 restarts=1")


async def test_a_worker_that_ends_again_and_again_is_restarted() -> None:
    async with supervised(ONE_ENDS) as running:
        await pid_of(running, "worker-2")
        await running.line('ended="exit code 3" restart=3 pause_seconds=4')  # the worker waits for its restart now

        assert await running.stop(signal.SIGTERM) == 0


async def test_a_second_signal_kills_the_workers_with_exit_code_1() -> None:
    async with supervised(STUBBORN) as running:
        for name in ("worker-1", "worker-2"):
            await pid_of(running, name)
        running.process.send_signal(signal.SIGTERM)
        for name in ("worker-1", "worker-2"):
            await running.line(f"{name} | no")

        assert await running.stop(signal.SIGINT) == 1
        await running.line("unclean=")


async def test_a_taken_port_is_reported_before_any_worker_starts(tmp_path: Path) -> None:
    port = free_ports(2)
    program = application(tmp_path, "taken", "127.0.0.1:9", source="events")
    environment = {**program.environment, "WEBHOOKS_WEB_PORT": str(port)}
    with socket.create_server(("127.0.0.1", port + 1)):
        ended = await Webhooks(environment).run("cluster", "--workers", "2")

    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith(f"Error: WEBHOOKS_WEB_PORT: 127.0.0.1:{port + 1} can't be bound")


@pytest.mark.parametrize("count", ["0", "257", "-1", "many"])
async def test_a_wrong_number_of_workers_says_what_is_allowed(count: str) -> None:
    ended = await Webhooks({}).run("cluster", "--workers", count)

    assert ended.code == 2
    assert ended.err.endswith(f"'{count}' is not allowed: 1 to 256, or auto\n")
