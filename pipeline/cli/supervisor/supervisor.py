"""Starts workers as processes, restarts those that end, and stops all of them together.

start ─▶ running ─▶ ended ─▶ pause, which grows with each restart ─▶ start
              │        │
              └─ stop ─┴─▶ stopped: SIGTERM to all; SIGKILL at a second signal, or when the time is up
"""

import asyncio
import contextlib
import logging
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pipeline.cli.supervisor.log_lines import LINE_BYTES, LogLines
from pipeline.core.clock import steady_now
from pipeline.observability.logs import Facts

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 30.0
SOUND_SECONDS: Final = 60.0
"""After a run of at least this length, a worker gets the shortest pause again."""
STOP_SECONDS: Final = 55.0
"""How long workers may take to stop: longer than the 50 s after which a worker ends itself (runtime/stop_deadline.py),
shorter than the 60 s that service managers wait (deploy/)."""
LAST_LINES_SECONDS: Final = 2.0
"""How long to wait for the last output of ended workers. A process that they started may keep their output open."""

CLEAN_ENDS: Final = frozenset({0, -signal.SIGTERM})
"""Exit codes of a worker that was stopped. The second one means that the worker was not handling the signal yet."""


@dataclass(frozen=True, slots=True)
class Member:
    """A worker that the supervisor keeps running."""

    name: str
    page: str
    environment: Mapping[str, str] = field(repr=False)


@dataclass(slots=True)
class Pauses:
    """The growing pauses before restarts of a worker that ends repeatedly."""

    _next: float = FIRST_PAUSE_SECONDS

    def after(self, ran_seconds: float) -> float:
        """The pause after a run of *ran_seconds*."""
        if ran_seconds >= SOUND_SECONDS:
            self._next = FIRST_PAUSE_SECONDS
        pause, self._next = self._next, min(2 * self._next, LONGEST_PAUSE_SECONDS)
        return pause


class Supervisor:
    """Keeps workers running until SIGTERM or SIGINT.

    Args:
        command: starts a worker.
        lines: copies the output of the workers.
    """

    def __init__(self, command: Sequence[str], members: Sequence[Member], lines: LogLines) -> None:
        self._command = command
        self._members = members
        self._lines = lines
        self._stopping = asyncio.Event()
        self._running: dict[str, Process] = {}
        self._copies: set[asyncio.Task[None]] = set()
        self._restarts = 0
        self._unclean: list[str] = []

    async def run(self) -> bool:
        """Run until a signal has arrived and all workers have ended. Returns whether all of them stopped cleanly."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        async with asyncio.TaskGroup() as group:
            for member in self._members:
                group.create_task(self._keep(member))
        if self._copies:
            await asyncio.wait(self._copies, timeout=LAST_LINES_SECONDS)
        logger.info(
            Facts(
                "cluster.stopped",
                {"workers": len(self._members), "restarts": self._restarts, "unclean": ",".join(self._unclean) or None},
            )
        )
        return not self._unclean

    def stop(self) -> None:
        """Stop all workers. The second call kills workers that are still running."""
        if self._stopping.is_set():
            self._kill()
            return
        self._stopping.set()
        logger.info(Facts("cluster.stopping", {"workers": len(self._running)}))
        for process in self._running.values():
            process.terminate()
        asyncio.get_running_loop().call_later(STOP_SECONDS, self._kill)

    def _kill(self) -> None:
        for name, process in self._running.items():
            logger.error(Facts("worker.killed", {"worker": name, "pid": process.pid}))
            process.kill()

    async def _keep(self, member: Member) -> None:
        pauses, restarts = Pauses(), 0
        while not self._stopping.is_set():
            began = steady_now()
            ended = await self._run_once(member)
            if self._stopping.is_set():
                break
            restarts += 1
            self._restarts += 1
            pause = pauses.after(steady_now() - began)
            # Workers are restarted indefinitely, because the cause, such as a broker that is down, may end.
            facts = {"worker": member.name, "ended": ended, "restart": restarts, "pause_seconds": pause}
            logger.error(Facts("worker.restarting", facts))
            await self._stops_within(pause)

    async def _run_once(self, member: Member) -> str:
        """Run the worker until it ends. Returns how it ended."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                env=member.environment,
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=STDOUT,
                limit=LINE_BYTES,
                # In a separate process group, so that only the supervisor gets Ctrl-C of a terminal. It stops the
                # workers.
                process_group=0,
            )
        except OSError as error:
            return f"could not be started: {error}"
        self._running[member.name] = process
        if process.stdout is not None:
            copy = asyncio.create_task(self._lines.copy(member.name, process.stdout))
            self._copies.add(copy)
            copy.add_done_callback(self._copies.discard)
        logger.info(Facts("worker.started", {"worker": member.name, "pid": process.pid, "page": member.page}))
        if self._stopping.is_set():
            process.terminate()
        code = await process.wait()
        del self._running[member.name]
        if self._stopping.is_set() and code not in CLEAN_ENDS:
            self._unclean.append(member.name)
        return f"exit code {code}" if code >= 0 else f"signal {-code}"

    async def _stops_within(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
