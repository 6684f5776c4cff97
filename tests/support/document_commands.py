"""The commands of a document, and a shell that runs them one after the other as a reader does.

A block that begins with ```console holds commands, each after `$ `, and what they print. A comment before a block says
more: `<!-- file: NAME -->` makes it the content of a file, `<!-- printed by: COMMAND -->` the output of a command that
goes on, and `<!-- not run: REASON -->` leaves its commands out.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Final

from tests.support.waiting import eventually

BLOCK: Final = re.compile(
    r"(?:^ *<!-- (?P<mark>file|printed by|not run): (?P<about>.+?) -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
WALKED: Final = ("docs/ten-minutes.md", "docs/api.md")
"""The documents whose commands are run, one after the other: what the first has set up serves the next."""
HERE_DOCUMENT: Final = re.compile(r"<<'?(\w+)")
LASTING: Final = ("webhooks worker", "webhooks cluster", "python deploy/receiver.py")
"""Commands that have a terminal of their own."""
END_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class File:
    """A file that the document shows."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """A command with the lines of its output that are shown, if any; and why it isn't run, if so."""

    text: str
    shown: tuple[str, ...] = ()
    not_run: str = ""

    @property
    def lasts(self) -> bool:
        """Whether it goes on until it is stopped."""
        return self.text.startswith(LASTING)


@dataclass(frozen=True, slots=True)
class Printed:
    """What a command that lasts prints in the end."""

    by: str
    shown: tuple[str, ...]


Step = File | Command | Printed


def steps(document: str) -> Iterator[Step]:
    """What a reader does, in its order."""
    for block in BLOCK.finditer(document):
        text = dedent(block["text"])
        if block["mark"] == "file":
            yield File(block["about"], text)
        elif block["mark"] == "printed by":
            yield Printed(block["about"], tuple(text.splitlines()))
        elif block["language"] == "console":
            reason = block["about"] if block["mark"] == "not run" else ""
            yield from _commands(text.splitlines(), reason)


def _commands(lines: list[str], reason: str) -> Iterator[Command]:
    rest = list(lines)
    while rest:
        first = rest.pop(0)
        assert first.startswith("$ "), f"{first!r} is the output of no command"
        text = [first.removeprefix("$ ")]
        while text[-1].endswith("\\"):
            text.append(rest.pop(0))
        if found := HERE_DOCUMENT.search(first):
            while text[-1] != found[1]:
                text.append(rest.pop(0))
        shown = []
        while rest and not rest[0].startswith("$ "):
            shown.append(rest.pop(0))
        yield Command("\n".join(text), tuple(shown), reason)


def as_shown(shown: tuple[str, ...], output: str) -> bool:
    """Whether *output* has these lines in this order; `…` stands for any text."""
    pattern = r".*^".join(
        r"\s+".join(re.escape(word).replace("…", ".*?") for word in line.split()) + r"[ \t]*$" for line in shown
    )
    return not shown or re.search(f"^{pattern}", output, re.MULTILINE | re.DOTALL) is not None


class Shell:
    """A bash that runs one command after the other, and beside it those that last."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self._process = process
        self._folder = folder
        self._logs: dict[str, Path] = {}

    async def run(self, command: Command) -> str:
        """Run a command to its end; what it printed. One that lasts is left running, its output in a file.

        Raises:
            AssertionError: it failed.
            TimeoutError: it does not print what is shown.
        """
        if command.lasts:
            log = self._logs[command.text] = self._folder / f"terminal-{len(self._logs)}.log"
            await self._done(f"( exec {command.text}\n) > {log.name} 2>&1 &")
            return ""
        is_error = bool(command.shown) and command.shown[0].startswith("Error:")
        code, output = await self._done(command.text)
        if not command.shown:
            assert code == 0, f"{command.text}: exit code {code}\n{output}"

        async def is_as_shown() -> bool:
            # What the pipeline does meanwhile is seen a moment later.
            nonlocal code, output
            if (code != 0) == is_error and as_shown(command.shown, output):
                return True
            code, output = await self._done(command.text)
            return False

        await eventually(is_as_shown, within_seconds=END_SECONDS, says=lambda: f"{command.text}: {code}\n{output}")
        return output

    async def sees(self, printed: Printed) -> None:
        """Wait until a command that lasts has printed this.

        Raises:
            TimeoutError: it has not.
        """
        log = self._logs[printed.by]

        async def is_shown() -> bool:
            return as_shown(printed.shown, log.read_text())

        await eventually(is_shown, within_seconds=END_SECONDS, says=log.read_text)

    async def _done(self, text: str) -> tuple[int, str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{text}\nprintf '\\n<<%d>>\\n' $?\n".encode())
        await self._process.stdin.drain()
        output = ""
        while not (end := re.search(r"\n<<(\d+)>>\n$", output)):
            line = await asyncio.wait_for(self._process.stdout.readline(), END_SECONDS)
            assert line, f"{text}: the shell has ended\n{output}"
            output += line.decode()
        return int(end[1]), output[: end.start()]


@asynccontextmanager
async def shell(folder: Path, environment: Mapping[str, str]) -> AsyncIterator[Shell]:
    """A shell in *folder*; what it has left running is ended with it."""
    process = await asyncio.create_subprocess_exec(
        "bash",
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdin is not None
    # A wrong status is an error here, and leaves what was started running until it has stopped by itself.
    process.stdin.write(b'curl() { command curl --silent --show-error --fail-with-body "$@"; }\n')
    try:
        yield Shell(process, folder)
    finally:
        process.stdin.write(b"kill $(jobs -p); wait; exit\n")
        await process.communicate()
