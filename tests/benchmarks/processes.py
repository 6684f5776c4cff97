"""Starts, watches and stops the child processes of the benchmarks."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

STOP_SECONDS: Final = 60.0
TAIL_LINES: Final = 8
SETTINGS_PREFIX: Final = "WEBHOOKS_"

Result = TypeVar("Result")


class ChildEndedError(Exception):
    """A child process ended before it was told to."""


class Child:
    """A program that runs in a separate process.

    Args:
        process: the process of the program.
        log: the file with the output of the program.
    """

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    async def unless_it_ends(self, work: Awaitable[Result]) -> Result:
        """Return the result of *work*.

        Raises:
            ChildEndedError: the process ended first; contains the last lines of its log.
        """
        task = asyncio.ensure_future(work)
        ended = asyncio.ensure_future(self._process.wait())
        try:
            await asyncio.wait({task, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ChildEndedError(f"it ended with {self._process.returncode}:\n{self.last_lines()}")
            return task.result()
        finally:
            task.cancel()
            ended.cancel()
            await asyncio.gather(task, ended, return_exceptions=True)

    def last_lines(self) -> str:
        """The last lines of the log."""
        return "\n".join(self._log.read_text("utf-8", errors="replace").splitlines()[-TAIL_LINES:])

    async def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        """Terminate the process, and wait until it has ended.

        Raises:
            ChildEndedError: the process did not end in time, and was killed.
        """
        if self._process.returncode is None:
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
            raise ChildEndedError(f"it did not end within {STOP_SECONDS:.0f} s:\n{self.last_lines()}") from None


@asynccontextmanager
async def running(
    module: str, *arguments: str, log: Path, environment: Mapping[str, str] | None = None, sockets: Sequence[int] = ()
) -> AsyncIterator[Child]:
    """Run a Python module in a process, which is stopped at the end of the block.

    Args:
        module: the dotted name of the module.
        arguments: the arguments of the command line.
        log: the file for the output of the process.
        environment: further environment variables. WEBHOOKS_ settings of this process are not passed on.
        sockets: the file descriptors that the process inherits.
    """
    command = (sys.executable, "-m", module, *arguments)
    async with running_program(command, log=log, environment=environment, sockets=sockets) as child:
        yield child


@asynccontextmanager
async def running_program(
    command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None, sockets: Sequence[int] = ()
) -> AsyncIterator[Child]:
    """Run *command*, a program and its arguments, in a process; see `running`."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS_PREFIX)}
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**own, **(environment or {})},
            pass_fds=sockets,
        )
    child = Child(process, log)
    try:
        yield child
    finally:
        await child.stop()
