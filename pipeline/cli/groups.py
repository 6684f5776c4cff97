"""The option value that names the consumer groups of subscriptions in another system."""

from typing import Any

import click

from pipeline.subscriptions.group_names import OWN_ID


class GroupOf(click.ParamType):
    """`id` or SUBSCRIPTION=GROUP (subscriptions/group_names.py)."""

    name = f"{OWN_ID}|SUBSCRIPTION=GROUP"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002 - click's signature
        """As the help shows it."""
        return self.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text, checked."""
        text = str(value)
        if text != OWN_ID and not all(text.partition("=")):
            self.fail(f"{text} is not allowed; allowed: {self.name}", param, ctx)
        return text
