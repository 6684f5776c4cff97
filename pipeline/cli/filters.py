"""The options that choose subscriptions by how they stand, in the words of the API."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Any, cast

import click

from pipeline.cli.output import say
from pipeline.cli.running import configured, errors_as_sentences
from pipeline.cluster.session import opened_view
from pipeline.cluster.state import STATES, State, StateFilter, SubscriptionState

Command = Callable[..., Any]


def filter_options(command: Command) -> Command:
    """`--state`, `--cause`, `--host`, passed to the command as *states*, *causes* and *host*."""
    state = click.option(
        "--state", "states", multiple=True, type=click.Choice(STATES), help="In this state; may be repeated."
    )
    cause = click.option(
        "--cause", "causes", multiple=True, metavar="KIND", help="Failing for this kind of cause; may be repeated."
    )
    host = click.option("--host", metavar="HOST[:PORT]", help="With a receiver at this host, and this port.")
    return state(cause(host(command)))


def as_filter(states: tuple[str, ...], causes: tuple[str, ...], host: str | None) -> StateFilter:
    """The filter that these options state."""
    return StateFilter(states=cast("frozenset[State]", frozenset(states)), causes=frozenset(causes), host=host)


def matching(wanted: StateFilter) -> frozenset[str]:
    """The ids of the subscriptions that match; what can't be known is printed."""
    return frozenset(state.id for state in states_of(wanted))


def states_of(wanted: StateFilter) -> Sequence[SubscriptionState]:
    """The subscriptions that match, by id; what can't be known is printed."""

    async def found() -> Sequence[SubscriptionState]:
        async with opened_view(*configured()) as view:
            page = await view.states(wanted, limit=sys.maxsize)
            for problem in view.problems():
                say(problem, err=True)
            return page.items

    with errors_as_sentences():
        return asyncio.run(found())
