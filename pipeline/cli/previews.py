"""Shows the effect of a command before anything is written."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from pipeline.cli.output import Format, say
from pipeline.cli.running import configured
from pipeline.cluster.effects import Effect, SourceOffset, as_lines, check_exists, count_waiting
from pipeline.cluster.positions import Position, find_positions
from pipeline.core.errors import BrokerError
from pipeline.core.subscription import Subscription
from pipeline.subscriptions.store import SubscriptionStore


@dataclass(frozen=True, slots=True)
class Preview:
    """A preview of the effects of a command in the partitions of a subscription.

    Attributes:
        effects: computes the effects; may raise ConfigurationError to refuse the command.
        target: the offset that the command names.
        is_always_shown: print the preview even with JSON output, to stderr.
    """

    subscription: str
    effects: Callable[[Subscription, list[Position]], Awaitable[list[Effect]]]
    target: SourceOffset | None = None
    is_always_shown: bool = False

    async def show(self, store: SubscriptionStore, output: Format) -> list[Effect] | str:
        """Print and return the effects. If they are unknown, print why; the command can run without them.

        Raises:
            ConfigurationError: there is no such subscription or target, or the command is refused.
        """
        subscription = await store.subscription(self.subscription)
        if self.target is not None:
            await check_exists(configured()[1], self.target)
        try:
            found = await find_positions(*configured(), [subscription])
            effects = await self.effects(subscription, found[subscription.id])
        except BrokerError as error:
            say(f"the effect in each partition is unknown: {error}", err=True)
            return str(error)
        if output == "table" or self.is_always_shown:
            for line in as_lines(effects, configured()[1]):
                say(line, err=True)
        return effects


async def show_waiting(subscriptions: Sequence[Subscription], output: Format) -> dict[str, list[Effect]] | str:
    """Print and return how many events wait for each subscription, or print why the numbers are unknown."""
    settings, definition = configured()
    try:
        found = await find_positions(settings, definition, subscriptions)
        effects = await count_waiting(settings, definition, subscriptions, found)
    except BrokerError as error:
        say(f"the effect in each partition is unknown: {error}", err=True)
        return str(error)
    if output == "table":
        for name, those in effects.items():
            for line in as_lines(those, definition):
                say(f"{name}: {line}", err=True)
    return effects


def preview_of_waiting(subscription: str) -> Preview:
    """A preview that shows how many events wait."""

    async def effects(found: Subscription, positions: list[Position]) -> list[Effect]:
        return (await count_waiting(*configured(), [found], {found.id: positions}))[found.id]

    return Preview(subscription, effects)


def preview_as_json(effects: list[Effect] | str | None) -> dict[str, object]:
    """The result of `Preview.show` as JSON."""
    match effects:
        case None:
            return {}
        case str():
            return {"partitions": None, "problem": effects}
        case _:
            return {
                "partitions": [{"topic": each.topic, "partition": each.partition, **each.facts} for each in effects]
            }
