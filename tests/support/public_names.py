"""Makes the lists in docs/compatibility.md from the code: commands with their options, and headers of requests.

`python -m tests.support.public_names` writes them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from pipeline.cli.main import OWN, whole_group
from pipeline.http.headers import OWN as OWN_HEADERS

PAGE: Final = Path(__file__).parents[2] / "docs" / "compatibility.md"
BEGIN: Final = "<!-- {}: written by `python -m tests.support.public_names` -->"
END: Final = "<!-- end of {} -->"


def commands() -> str:
    """The pipeline's commands and their options, in Markdown. Of Faust's commands, only `worker` is listed."""
    group = whole_group().commands
    rows = ["| command | options |", "| --- | --- |", "| `webhooks worker` | settings |"]
    rows += [row for name in sorted(OWN) for row in _rows(f"webhooks {name}", group[name])]
    return "\n".join(rows)


def _rows(name: str, command: click.Command) -> Iterator[str]:
    if isinstance(command, click.Group):
        for part in sorted(command.commands):
            yield from _rows(f"{name} {part}", command.commands[part])
        return
    options = [max(each.opts, key=len) for each in command.params if isinstance(each, click.Option) and not each.hidden]
    yield f"| `{name}` | {', '.join(f'`{each}`' for each in sorted(options)) or '-'} |"


def headers() -> str:
    """The headers that only the pipeline sets."""
    return ", ".join(f"`{name}`" for name in sorted(OWN_HEADERS))


LISTS: Final = {"commands": commands, "headers": headers}


def with_lists(text: str) -> str:
    """The page with the lists from the code."""
    for name, made in LISTS.items():
        begin, end = BEGIN.format(name), END.format(name)
        before, rest = text.split(begin)
        text = f"{before}{begin}\n\n{made()}\n\n{end}{rest.split(end)[1]}"
    return text


if __name__ == "__main__":
    PAGE.write_text(with_lists(PAGE.read_text()))
