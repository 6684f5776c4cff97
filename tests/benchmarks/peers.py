"""Other senders that the pipeline is compared with. They are built once, with packages from a registry.

    node     a lane for each subscription with kafkajs and undici (senders/node)
    bento    a stream for each partition, one request at a time (senders/bento)

Each sender is at-least-once and keeps the order, like the pipeline. A sender that can't be built is left out with a
reason.
"""

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from tests.benchmarks.processes import Child, running_program
from tests.benchmarks.receiver import Receiver
from tests.benchmarks.stage import PARTITIONS, Stage, Start

SOURCES: Final = Path(__file__).parent / "senders"
MADE: Final = Path(__file__).parents[2] / "build" / "peers"
READ_TIMEOUT_MS: Final = 10_000
MAKE_SECONDS: Final = 900.0


class AbsentError(Exception):
    """A peer can't be built on this machine."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another sender.

    Attributes:
        name: the name of the sender in the tables.
        command: the program and its arguments, in which `{bootstrap}`, `{topic}`, `{group}` and `{url}` are replaced.
        environment: further environment variables, in whose values the same names are replaced.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]

    def on(self, stage: Stage) -> Start:
        """Return a function that starts this sender on *stage*."""

        def start(topic: str, receiver: Receiver) -> AbstractAsyncContextManager[Child]:
            said = {
                "bootstrap": stage.broker.bootstrap,
                "topic": topic,
                "group": f"bench-{uuid4().hex[:12]}",
                "url": receiver.url,
            }
            return running_program(
                [part.format(**said) for part in self.command],
                log=stage.log(self.name.replace(" ", "-")),
                environment={name: value.format(**said) for name, value in self.environment.items()},
            )

        return start


async def node() -> Peer:
    """Build the lanes in Node.js.

    Raises:
        AbsentError: there is no Node.js, or no registry that has the packages.
    """
    npm, program = _program("npm"), _program("node")
    folder = _folder("node")
    if not (folder / "node_modules" / "undici").exists():
        await _run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
    values = ("{bootstrap}", "{topic}", "{group}", "{url}", str(READ_TIMEOUT_MS))
    return Peer("Node.js lanes", (program, str(folder / "lanes.mjs"), *values), {})


async def bento() -> Peer:
    """Build the ordered streams of Bento.

    Raises:
        AbsentError: there is no Go, or no module proxy that has the modules.
    """
    go = _program("go")
    folder = _folder("bento")
    built = folder / "bento-lanes"
    if not built.exists():
        await _run([go, "build", "-trimpath", "-o", built.name, "."], folder, {"CGO_ENABLED": "0"})
    streams = []
    for number in range(PARTITIONS):
        stream = folder / f"stream-{number}.yaml"
        shutil.copy(folder / "stream.yaml", stream)
        streams.append(str(stream))
    environment = {
        "BOOTSTRAP": "{bootstrap}",
        "TOPIC": "{topic}",
        "GROUP": "{group}",
        "URL": "{url}",
        "READ_TIMEOUT": f"{READ_TIMEOUT_MS}ms",
    }
    return Peer(f"Bento, {PARTITIONS} ordered", (str(built), "streams", "--no-api", *streams), environment)


PEERS: Final = (node, bento)


async def found() -> tuple[list[Peer], list[str]]:
    """The peers that can run here, and a sentence for each of the others: why it is left out."""
    there: list[Peer] = []
    absent: list[str] = []
    for make in PEERS:
        try:
            there.append(await make())
        except AbsentError as error:
            absent.append(f"{make.__name__} was left out: {error}")
    return there, absent


def _folder(name: str) -> Path:
    """The directory in which a peer is built, with a copy of its current sources."""
    folder = MADE / name
    shutil.copytree(SOURCES / name, folder, dirs_exist_ok=True)
    return folder


def _program(name: str) -> str:
    program = shutil.which(name)
    if program is None:
        raise AbsentError(f"there is no {name} here")
    return program


async def _run(command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), MAKE_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise AbsentError(f"{command[0]} did not end within {MAKE_SECONDS:.0f} s") from None
    if process.returncode:
        last = output.decode(errors="replace").strip().rpartition("\n")[2]
        raise AbsentError(f"{command[0]} ended with {process.returncode}: {last}")
