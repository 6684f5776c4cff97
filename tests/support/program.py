"""Runs the `webhooks` program like a user: as a separate process, with its output and its exit code."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import yaml
from cryptography.fernet import Fernet

from pipeline.cli.main import OWN
from tests.support.fork_server import PROGRAM, fork_server

END_SECONDS: Final = 90.0


@dataclass(frozen=True, slots=True)
class Ended:
    """The exit code, stdout and stderr of a run of the program."""

    code: int
    out: str
    err: str


@dataclass(slots=True)
class Running:
    """A running program. `output` contains the lines of stdout and stderr so far, in order of arrival."""

    process: asyncio.subprocess.Process
    output: list[str] = field(default_factory=list)
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    async def line(self, part: str, *, after: int = 0, within_seconds: float = 30.0) -> str:
        """Wait for a line that contains *part*, from line number *after* on, and return it.

        Raises:
            TimeoutError: there was no such line in time, or the program has ended; the message contains the output.
        """
        try:
            async with asyncio.timeout(within_seconds):
                while True:
                    self._more.clear()
                    for line in self.output[after:]:
                        if part in line:
                            return line
                    if self.process.stdout is not None and self.process.stdout.at_eof():
                        break
                    await self._more.wait()
        except TimeoutError:
            pass
        raise TimeoutError(f"no line with {part!r} in:\n" + "\n".join(self.output))

    async def stop(self, number: signal.Signals) -> int:
        """Send a signal, wait for the end of the program, and return its exit code."""
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), END_SECONDS)

    async def read(self) -> None:
        """Read the output until it ends."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.output.append(line.decode().rstrip("\n"))
            self._more.set()
        self._more.set()


@dataclass(frozen=True, slots=True)
class Webhooks:
    """The program with the settings of one application, which are in *environment*."""

    environment: Mapping[str, str]

    async def run(self, *arguments: str, stdin: bytes = b"") -> Ended:
        """Run a command to its end."""
        assert all(name.startswith("WEBHOOKS_") for name in self.environment), (
            "other variables may affect the interpreter"
        )
        server = fork_server("own" if arguments[:1] and arguments[0] in OWN else "faust")
        running = server.run(list(arguments), clean_environment(self.environment), stdin)
        code, out, err = await asyncio.wait_for(running, END_SECONDS)
        return Ended(code, out.decode(), err.decode())

    async def done(self, *arguments: str, stdin: bytes = b"") -> str:
        """Run a command that has to succeed, and return its stdout."""
        ended = await self.run(*arguments, stdin=stdin)
        assert ended.code == 0, ended
        return ended.out

    @asynccontextmanager
    async def start(self, *arguments: str) -> AsyncIterator[Running]:
        """Start a command that keeps running. A command that is still running at the end is killed."""
        async with started(PROGRAM, *arguments, settings=self.environment) as running:
            yield running


@asynccontextmanager
async def started(*command: str, settings: Mapping[str, str]) -> AsyncIterator[Running]:
    """Start any program that keeps running. A program that is still running at the end is killed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=clean_environment(settings),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    running = Running(process)
    reading = asyncio.create_task(running.read())
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


def clean_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of this process, with only these settings of the program."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("WEBHOOKS_")}
    return {**others, "PYTHONUNBUFFERED": "1", **settings}


def application(folder: Path, name: str, bootstrap: str, *, source: str, dlq: str | None = None) -> Webhooks:
    """The program for an application whose definition is written to *folder*.

    Args:
        folder: the directory for the definition.
        name: the value of WEBHOOKS_APP.
        bootstrap: the broker of both topics.
        source: the source topic.
        dlq: the dead-letter topic, if any.
    """
    return write_application(folder, name, definition(bootstrap, source, dlq))


def write_application(folder: Path, name: str, document: Mapping[str, object]) -> Webhooks:
    """Like `application`, but with a given API definition."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(document))
    return Webhooks(
        {
            "WEBHOOKS_API": str(path),
            "WEBHOOKS_APP": name,
            "WEBHOOKS_SECRET_KEYS": Fernet.generate_key().decode(),
            "WEBHOOKS_ALLOW_PRIVATE_NETWORKS": "127.0.0.0/8",
            "WEBHOOKS_ADMIN_TOKEN": "for-admins-only",
        }
    )


def definition(bootstrap: str, source: str, dlq: str | None = None) -> dict[str, object]:
    """A complete API definition: at-least-once; 5xx are dead-lettered like 4xx if there is a dead-letter topic."""
    entrypoint: dict[str, object] = {
        "type": "webhook-advanced",
        "routing": "key",
        "qos": "at-least-once",
        "configuration": {},
    }
    groups = [
        _group("source", bootstrap, {"consumer": {"enabled": True, "topics": [source], "autoOffsetReset": "earliest"}})
    ]
    if dlq is not None:
        entrypoint["dlq"] = {"endpoint": "letters"}
        groups.append(_group("letters", bootstrap, {"producer": {"enabled": True, "topics": [dlq]}}))
    return {
        "name": "orders",
        "listeners": [{"type": "subscription", "entrypoints": [entrypoint]}],
        "endpointGroups": groups,
        "plans": [],
    }


def _group(name: str, bootstrap: str, shared: dict[str, object]) -> dict[str, object]:
    endpoint = {
        "name": f"{name}-endpoint",
        "type": "kafka",
        "configuration": {"bootstrapServers": bootstrap},
        "sharedConfigurationOverride": shared,
    }
    return {"name": name, "type": "kafka", "endpoints": [endpoint]}
