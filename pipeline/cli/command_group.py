"""A group of commands that prints their errors as sentences, and suggests a command if the given name is unknown."""

from collections.abc import Collection
from typing import Any, Final

import click

from pipeline.config.validation_messages import nearest
from pipeline.core.errors import WebhooksError
from pipeline.core.shown import safe, shown

PROGRAM: Final = "webhooks"
SYNONYMS: Final = {"show": "get", "get": "show"}
"""Commands that have another name in another group."""


class CommandGroup(click.Group):
    """A group of commands.

    Attributes:
        known: the names of further commands, which are not loaded.
    """

    known: Collection[str] = ()

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; print an expected error on stderr, and exit with code 1."""
        try:
            return super().invoke(ctx)
        except WebhooksError as error:
            raise click.ClickException(safe(str(error), keep="\n")) from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve the first of *args* to a command, as click does. If it is unknown, fail with a suggestion."""
        name = args[0]
        if not (ctx.resilient_parsing or name.startswith("-") or self.get_command(ctx, name)):
            ctx.fail(f"there is no command {shown(name)}; {self._instead(ctx, name)}")
        return super().resolve_command(ctx, args)

    def _instead(self, ctx: click.Context, name: str) -> str:
        """A hint: a command of this name in a subgroup or at the top level, a similar name here, or all names here."""
        for group in self.commands.values():
            if isinstance(group, click.Group) and name in group.commands:
                return f"did you mean {PROGRAM} {group.name} {name}?"
        if SYNONYMS.get(name) in self.commands:
            return f"did you mean {SYNONYMS[name]}?"
        root = ctx.find_root().command
        if isinstance(root, CommandGroup) and name in {*root.commands, *root.known}:
            return f"did you mean {PROGRAM} {name}?"
        return nearest(name, [each for each in self.list_commands(ctx) if not self.commands[each].hidden])
