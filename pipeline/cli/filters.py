"""The options that select subscriptions. They have the names of the API's parameters."""

import asyncio
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import cast

import click

from pipeline.cli.output import Command, say
from pipeline.cli.running import configured
from pipeline.cluster.search import host_problem
from pipeline.cluster.session import opened_view
from pipeline.cluster.state import KINDS, STATES, State, StateFilter, SubscriptionState
from pipeline.core.errors import BrokerError


def filter_options(command: Command) -> Command:
    """`--state`, `--cause`, `--host`, `--metadata`, passed as *states*, *causes*, *host* and *metadata*."""
    state = click.option(
        "--state",
        "states",
        multiple=True,
        type=click.Choice(STATES),
        help="Only subscriptions in this state; may be repeated.",
    )
    cause = click.option(
        "--cause",
        "causes",
        multiple=True,
        metavar="KIND",
        type=click.Choice(KINDS),
        help="Only subscriptions that fail with this kind of cause; may be repeated.",
    )
    host = click.option(
        "--host",
        metavar="HOST[:PORT]",
        callback=_as_host,
        help="Only subscriptions with a receiver at this host and port.",
    )
    return state(cause(host(metadata_option(command))))


def metadata_option(command: Command) -> Command:
    """`--metadata NAME=VALUE`, passed as *metadata*, a mapping."""
    return click.option(
        "--metadata",
        multiple=True,
        metavar="NAME=VALUE",
        callback=_as_mapping,
        help="Only subscriptions with this entry in their metadata; may be repeated, all must match.",
    )(command)


def _as_host(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    refusal = None if text is None else host_problem(text)
    if refusal is not None:
        raise click.BadParameter(refusal)
    return text


def _as_mapping(_: click.Context, __: click.Parameter, texts: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE")
        if found.setdefault(name, value) != value:
            raise click.BadParameter(f"{name} has two values, and no subscription can have both")
    return found


def as_filter(
    states: Sequence[str], causes: Sequence[str], host: str | None, metadata: Mapping[str, str]
) -> StateFilter:
    """The filter that these options describe."""
    return StateFilter(
        states=cast("frozenset[State]", frozenset(states)), causes=frozenset(causes), host=host, metadata=metadata
    )


def matching(wanted: StateFilter) -> frozenset[str]:
    """The ids of the matching subscriptions. Prints what is unknown."""
    return frozenset(state.id for state in states_of(wanted))


def states_of(wanted: StateFilter) -> Sequence[SubscriptionState]:
    """The states of the matching subscriptions, by id. Prints what is unknown."""
    return asyncio.run(_matching(wanted, needs_rows=False))


def known_matching(wanted: StateFilter) -> Sequence[SubscriptionState]:
    """The states of the matching subscriptions, for a command that changes them.

    Ends the program if the workers' rows can't be read, because the command would change the wrong subscriptions.
    """
    return asyncio.run(_matching(wanted, needs_rows=True))


def standing(ids: Collection[str]) -> Mapping[str, SubscriptionState]:
    """The states of these subscriptions, by id; empty if the states are unknown."""

    async def found() -> Sequence[SubscriptionState]:
        async with opened_view(*configured()) as view:
            is_known = view.rows_problem is None
            return (await view.states(StateFilter(ids=frozenset(ids)), limit=len(ids))).items if is_known else ()

    try:
        return {state.id: state for state in asyncio.run(found())}
    except BrokerError:
        return {}


async def _matching(wanted: StateFilter, *, needs_rows: bool) -> Sequence[SubscriptionState]:
    async with opened_view(*configured()) as view:
        items = (await view.states(wanted, limit=sys.maxsize)).items
        if needs_rows and view.rows_problem is not None:
            raise BrokerError(f"the states of subscriptions are unknown, so none was changed: {view.rows_problem}")
        for problem in view.problems():
            say(problem, err=True)
        return items
