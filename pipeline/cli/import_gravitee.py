"""`webhooks import-gravitee`: converts an API of Gravitee and its subscriptions to files of this pipeline."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import click

from pipeline.cli.groups import GroupOf
from pipeline.cli.output import as_yaml, new_private_file, say
from pipeline.config.documents import parse_documents
from pipeline.config.gravitee.losses import NAMES
from pipeline.config.gravitee.masked import masked
from pipeline.config.gravitee.shapes import contents, documents_of, numbered
from pipeline.core.errors import ConfigurationError
from pipeline.subscriptions.gravitee import as_written
from pipeline.subscriptions.gravitee_import import Imported, imported
from pipeline.subscriptions.secrets import mask

DEFINITION: Final = "definition.yaml"
SUBSCRIPTIONS: Final = "subscriptions.yaml"


@click.command("import-gravitee")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--output-dir", type=click.Path(path_type=Path), help="Write files to this directory, with the secrets.")
@click.option(
    "--accept-ignored",
    "accepted",
    multiple=True,
    type=click.Choice(NAMES),
    help="Accept that this feature is lost, although this changes what receivers get.",
)
@click.option(
    "--from-group",
    "groups",
    multiple=True,
    type=GroupOf(),
    help=(
        "Continue where this consumer group stopped; id means that each subscription has a group named after its own "
        "id."
    ),
)
def command(
    *, files: tuple[str, ...], output_dir: Path | None, accepted: tuple[str, ...], groups: tuple[str, ...]
) -> None:
    """Convert an API of Gravitee and its subscriptions.

    The YAML or JSON files are Console exports, answers from the management API (an API, its subscriptions),
    ApiV4Definition resources of the Kubernetes operator, or Terraform states. Use - for standard input. Together, the
    files must contain one API. No broker is needed.

    Without --output-dir, the result is printed with masked secrets and nothing is written. A feature that this pipeline
    does not have is an error if receivers would notice its loss; --accept-ignored NAME accepts the loss.

    The positions of consumer groups are read later, by webhooks subscriptions apply; the groups must have no members
    then.
    """
    result = imported(contents(_documents(files)), accepted, groups)
    if output_dir is None:
        _show(result)
    else:
        _write(result, output_dir)


def _documents(files: Sequence[str]) -> Iterator[tuple[str, object]]:
    for file in files:
        if file == "-":
            yield from numbered("standard input", parse_documents(sys.stdin.read(), "standard input"))
        else:
            yield from numbered(file, documents_of(Path(file)))


def _show(result: Imported) -> None:
    _say_notes(result, err=True)
    shown = [] if result.definition is None else [masked(result.definition)]
    shown += [as_written(mask(each)) for each in result.subscriptions]
    say("---\n".join(map(as_yaml, shown)).rstrip("\n"))


def _write(result: Imported, folder: Path) -> None:
    texts: dict[Path, str] = {}
    if result.definition is not None:
        texts[folder / DEFINITION] = as_yaml(result.definition)
    if result.subscriptions:
        texts[folder / SUBSCRIPTIONS] = "---\n".join(as_yaml(as_written(each)) for each in result.subscriptions)
    if problems := [f"{path}: exists; remove it, or name another folder" for path in texts if path.exists()]:
        raise ConfigurationError(problems)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, text in texts.items():
            with new_private_file(path) as file:
                file.write(text)
    except OSError as error:
        raise ConfigurationError(f"{error.filename}: can't be written: {error.strerror}") from None
    _say_notes(result)
    for path in texts:
        say(f"wrote     {path}, mode 0600")
    if folder / DEFINITION in texts:
        say(f"next      export WEBHOOKS_API={folder / DEFINITION}; webhooks check")
    if folder / SUBSCRIPTIONS in texts:
        say(f"next      webhooks subscriptions apply {folder / SUBSCRIPTIONS}")


def _say_notes(result: Imported, *, err: bool = False) -> None:
    for word, sentence in result.notes:
        say(f"{word:<9} {sentence}", err=err)
