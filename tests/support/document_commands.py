"""Extracts the commands of a document, and runs them in a shell, one after another, as a reader does.

A block that begins with ```console has commands, each after `$ `, and their output. A comment before a block changes
its meaning: with `<!-- file: NAME -->`, the block is the content of a file; with `<!-- printed by: COMMAND -->`, the
output of a command that keeps running; with `<!-- not run: REASON -->`, its commands are not run.
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
"""The documents whose commands are run, one after another. Each document uses the results of the earlier ones."""
HERE_DOCUMENT: Final = re.compile(r"<<'?(\w+)")
LASTING: Final = ("webhooks worker", "webhooks cluster", "python deploy/receiver.py")
"""Commands that keep running in a separate terminal."""
END_SECONDS: Final = 120.0
STOP_SECONDS: Final = 90.0
"""How long commands that keep running may take to stop. A worker ends after less, and logs what it waited for."""


@dataclass(frozen=True, slots=True)
class File:
    """A file that the document shows."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """A command, the lines of output that the document shows, and, if it is not run, the reason."""

    text: str
    shown: tuple[str, ...] = ()
    not_run: str = ""

    @property
    def lasts(self) -> bool:
        """Whether the command runs until it is stopped."""
        return self.text.startswith(LASTING)


@dataclass(frozen=True, slots=True)
class Printed:
    """Output that a command that keeps running prints later."""

    by: str
    shown: tuple[str, ...]


Step = File | Command | Printed


def steps(document: str) -> Iterator[Step]:
    """The steps of a reader, in order."""
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
    """A bash that runs commands one after another, and commands that keep running beside them."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self._process = process
        self._folder = folder
        self._logs: dict[str, Path] = {}

    async def run(self, command: Command) -> str:
        """Run a command to its end, and return its output. A command that lasts is left running, with output to a file.

        Raises:
            AssertionError: the command failed.
            TimeoutError: the command does not print the shown lines.
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
            # Effects of the pipeline may become visible a moment later.
            nonlocal code, output
            if (code != 0) == is_error and as_shown(command.shown, output):
                return True
            code, output = await self._done(command.text)
            return False

        await eventually(is_as_shown, within_seconds=END_SECONDS, says=lambda: f"{command.text}: {code}\n{output}")
        return output

    async def sees(self, printed: Printed) -> None:
        """Wait until a command that keeps running has printed the shown lines.

        Raises:
            TimeoutError: the command does not print the shown lines.
        """
        log = self._logs[printed.by]

        async def is_shown() -> bool:
            return as_shown(printed.shown, log.read_text())

        await eventually(is_shown, within_seconds=END_SECONDS, says=log.read_text)

    def logs(self) -> str:
        """The output of the commands that were left running."""
        return "\n".join(f"$ {command}\n{log.read_text()}" for command, log in self._logs.items())

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
    """Run a shell in *folder*. Commands that are still running at the end are terminated."""
    process = await asyncio.create_subprocess_exec(
        "bash",
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdin is not None
    # Makes curl fail if the status of an answer is 400 or more. A failed command ends the test. Commands that were left
    # running get time to stop by themselves.
    process.stdin.write(b'curl() { command curl --silent --show-error --fail-with-body "$@"; }\n')
    bash = Shell(process, folder)
    try:
        yield bash
    finally:
        process.stdin.write(b"kill $(jobs -p); wait; exit\n")
        try:
            await asyncio.wait_for(process.communicate(), STOP_SECONDS)
        except TimeoutError:
            process.kill()
            raise AssertionError(f"a command did not stop after SIGTERM\n{bash.logs()}") from None
