"""The type of the options that name the consumer groups of subscriptions in another system."""

from typing import Any

import click

from pipeline.subscriptions.group_names import OWN_ID


class GroupOf(click.ParamType):
    """`id` or SUBSCRIPTION=GROUP (subscriptions/group_names.py)."""

    name = f"{OWN_ID}|SUBSCRIPTION=GROUP"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002 - click's signature
        """The form of the value in the help."""
        return self.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the text, and return it."""
        text = str(value)
        if text != OWN_ID and not all(text.partition("=")):
            self.fail(f"{text} is not allowed; allowed: {self.name}", param, ctx)
        return text
