"""`webhooks completion`: prints scripts that complete commands and options in a shell."""

from typing import Final, Literal

import click
from click.shell_completion import get_completion_class

from pipeline.cli.command_group import PROGRAM
from pipeline.cli.output import say

Shell = Literal["bash", "zsh", "fish"]
VARIABLE: Final = "_WEBHOOKS_COMPLETE"
"""The variable that click's scripts set to ask a program for completions."""


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: Shell) -> None:
    """Print the completion script of a shell.

    bash: put eval "$(webhooks completion bash)" into ~/.bashrc. zsh: put eval "$(webhooks completion zsh)" into
    ~/.zshrc. fish: webhooks completion fish > ~/.config/fish/completions/webhooks.fish
    """
    found = get_completion_class(shell)
    if found is None:
        raise click.ClickException(f"click has no completion for {shell}")
    say(found(click.Command(PROGRAM), {}, PROGRAM, VARIABLE).source())
