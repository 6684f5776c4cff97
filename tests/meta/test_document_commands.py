"""Each command in a document is run by a test, or gives the reason why not. Each `webhooks` command exists."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import click
import pytest

from pipeline.cli.main import whole_group
from tests.support.document_commands import WALKED, Command, File, Printed, as_shown, steps

ROOT: Final = Path(__file__).parents[2]
DOCUMENTS: Final = [
    path.relative_to(ROOT).as_posix()
    for path in sorted(
        [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").glob("*.md")]
    )
]
SPAN: Final = re.compile(r"`(webhooks [^`]+)`")
PROGRAM: Final = re.compile(r"(?:^|\| *)webhooks (.+?)(?= #|\||>|$)", re.MULTILINE)


program = cache(whole_group)


def commands(document: str) -> list[Command]:
    return [step for step in steps((ROOT / document).read_text()) if isinstance(step, Command)]


def calls(document: str) -> Iterator[str]:
    """The words after `webhooks` in each command of a document."""
    for command in commands(document):
        yield from PROGRAM.findall(command.text.replace("\\\n", " "))
    for span in SPAN.findall((ROOT / document).read_text()):
        yield span.replace("\n", " ").removeprefix("webhooks ")


def mistake(call: str) -> str | None:
    """Why the program would refuse these words, or None. Values are not checked."""
    command: click.Command = program()
    words = shlex.split(call)
    context = click.Context(command)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        if found is None:
            # `webhooks …`, `webhooks subscriptions`: the program or a group itself.
            return None if words == ["…"] else f"{words[0]!r} is no command of {command.name}"
        command, context, words = found, click.Context(found, parent=context), words[1:]
    try:
        _, rest, _ = command.make_parser(context).parse_args(words)
    except click.UsageError as error:
        return error.format_message()
    return f"{rest} are too many words" if rest else None


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_command_in_a_document_is_run_or_says_why_not(document: str) -> None:
    left_out = [each.text for each in commands(document) if not each.not_run and document not in WALKED]
    assert left_out == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_command_in_a_document_exists_with_its_options(document: str) -> None:
    assert {call: found for call in calls(document) if (found := mistake(call))} == {}


@pytest.mark.parametrize(
    "call", ["nothing", "subscriptions lists", "dlq list --all", "event ID OTHER MORE", "check --fix"]
)
def test_a_wrong_command_is_found(call: str) -> None:
    assert mistake(call)


def test_steps_are_read_from_a_document() -> None:
    text = """
1. Look:

   <!-- file: a.json -->
   ```json
   { "a":
     1 }
   ```
   ```console
   $ cat > b <<'END'
   $ not a command
   END
   $ one \\
       --two    # three
   shown …
   ```
<!-- not run: needs Docker -->
```console
$ docker ps
```
<!-- printed by: one -->
```text
line
```
"""
    assert list(steps(text)) == [
        File("a.json", '{ "a":\n  1 }\n'),
        Command("cat > b <<'END'\n$ not a command\nEND"),
        Command("one \\\n    --two    # three", ("shown …",)),
        Command("docker ps", not_run="needs Docker"),
        Printed("one", ("line",)),
    ]


@pytest.mark.parametrize(
    ("shown", "output", "expected"),
    [
        ((), "anything", True),
        (("a  b",), "x\na b \ny", True),
        (("a … c",), "a b c", True),
        (("a", "c"), "a\nb\nc", True),
        (("c", "a"), "a\nb\nc", False),
        (("a",), "ab", False),
        (("a.c",), "abc", False),
    ],
)
def test_shown_output_is_compared_with_real_output(shown: tuple[str, ...], output: str, *, expected: bool) -> None:
    assert as_shown(shown, output) is expected
