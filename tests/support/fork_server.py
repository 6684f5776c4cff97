"""Runs commands in forks of a process that has already loaded the program, which saves a second of CPU time each.

Each command is still a separate process with arguments, environment, input, output and exit code.
Tests that depend on a fresh interpreter (imports, the entry point) are in `tests/process/test_commands.py`.
"""

import asyncio
import atexit
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final

from pipeline.cli.main import OWN, main

PROGRAM: Final = str(Path(sys.executable).with_name("webhooks"))
EMBEDDED_WORKER: Final = Path(__file__).with_name("embedded_worker.py")
BESIDE: Final = {
    "own": (),
    "faust": ("pipeline.cli.faust_commands", "pipeline.app"),
    EMBEDDED_WORKER.name: ("pipeline.worker", "pipeline.cli.dev.project"),
}
"""The modules to load in addition to the pipeline's own commands, which do not load Faust."""


class ForkServer:
    """A process that forks itself for each command, and that ends when the process of the tests ends.

    Args:
        kind: a key of BESIDE.
    """

    def __init__(self, kind: str) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen([sys.executable, "-P", __file__, kind], stdin=theirs.fileno())
        atexit.register(self._close)

    def _close(self) -> None:
        self._socket.close()
        self._process.wait()

    async def start(
        self, arguments: Sequence[str], environment: Mapping[str, str], *streams: IO[bytes]
    ) -> "ForkedProcess":
        """Start a command with standard input, output and error."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._socket, [b"."], [theirs.fileno(), *(stream.fileno() for stream in streams)])
        reader, writer = await asyncio.open_connection(sock=ours)
        writer.write(json.dumps([str(Path.cwd()), arguments, dict(environment)]).encode())
        writer.write_eof()
        return ForkedProcess(int(await reader.readline()), reader, writer)

    async def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], stdin: bytes
    ) -> tuple[int, bytes, bytes]:
        """Run a command to its end. Returns its exit code, stdout and stderr."""
        with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
            given.write(stdin)
            given.seek(0)
            process = await self.start(arguments, environment, given, out, err)
            try:
                code = await process.wait()
            except asyncio.CancelledError:
                process.send_signal(signal.SIGKILL)
                await process.wait()
                raise
            out.seek(0)
            err.seek(0)
            return code, out.read(), err.read()


class ForkedProcess:
    """A process of a fork server, with the interface of `asyncio.subprocess.Process`. Its starter must call `wait`."""

    def __init__(self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._end = asyncio.create_task(self._ended(reader, writer))

    async def _ended(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        code = self.returncode = int(await reader.readline())
        writer.close()
        await writer.wait_closed()
        return code

    async def wait(self) -> int:
        """Wait for the end of the process, and return its exit code."""
        return await asyncio.shield(self._end)

    def send_signal(self, number: int) -> None:
        """Send a signal to the process."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


@cache
def fork_server(kind: str) -> ForkServer:
    """The fork server of this process, which is started on first use."""
    return ForkServer(kind)


def serve(kind: str) -> None:
    """Serve on the socket that is standard input, until its other end is closed. Returns only in a forked command."""
    for module in (*OWN.values(), *BESIDE[kind]):
        import_module(module)
    gc.freeze()
    asked = socket.socket(fileno=os.dup(0))
    while descriptors := socket.recv_fds(asked, 1, 4)[1]:
        if os.fork() == 0:
            asked.close()
            return _become(*descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        _reap()
    # Exit without the clean-up that the loaded modules would do, because only forked commands need it.
    os._exit(0)


def _become(control: int, *streams: int) -> None:
    """Fork again, wait for the new process and report how it ended.

    Returns only in the new process, which then runs the command.
    """
    with socket.socket(fileno=control) as asked:
        with asked.makefile("rb") as file:
            folder, arguments, environment = json.load(file)
        pid = os.fork()
        if pid:
            asked.sendall(f"{pid}\n".encode())
            status = os.waitpid(pid, 0)[1]
            asked.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
            os._exit(0)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [PROGRAM, *arguments]


def _reap() -> None:
    """Remove the processes that have ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


if __name__ == "__main__":
    kind = sys.argv[1]
    serve(kind)
    if kind == EMBEDDED_WORKER.name:
        runpy.run_path(str(EMBEDDED_WORKER), run_name="__main__")
    else:
        main()
