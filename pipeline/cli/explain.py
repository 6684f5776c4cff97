"""`webhooks explain`: explains the state of a subscription and what to do."""

import asyncio

import click

from pipeline.cli.output import Format, as_json, output_option, say
from pipeline.cli.running import configured
from pipeline.cluster.explanation import explain
from pipeline.cluster.session import opened_view
from pipeline.cluster.shown import shown_state
from pipeline.cluster.state import StateFilter, SubscriptionState
from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import one_line, shown


@click.command("explain")
@click.argument("subscription", metavar="ID")
@output_option
def command(subscription: str, output: Format) -> None:
    """Explain the state of subscription ID, and what to do.

    A paragraph describes the state, its reason and beginning, the attempts, the next attempt or probe, and the number
    of waiting events (or the largest possible one). Commands to copy are printed below it. A message on stderr names
    what is unknown.
    """
    state, problems = asyncio.run(_state(subscription))
    explanation = explain(state, names_topic=len(configured()[1].source.topics) > 1)
    for problem in problems:
        say(problem, err=True)
    if output == "json":
        document = {"id": state.id, **shown_state(state), "text": explanation.text, "commands": explanation.commands}
        say(as_json({**document, "problems": problems}))
        return
    say(one_line(explanation.text))
    for each in explanation.commands:
        say(f"  {one_line(each)}")


async def _state(subscription: str) -> tuple[SubscriptionState, list[str]]:
    """The state of a subscription, and sentences about what is unknown.

    Raises:
        BrokerError: the topics can't be read.
        ConfigurationError: there is no such subscription.
    """
    async with opened_view(*configured()) as view:
        page = await view.states(StateFilter(ids=frozenset({subscription})))
        if not page.items:
            raise ConfigurationError(f"there is no subscription {shown(subscription)}")
        return page.items[0], view.problems()
