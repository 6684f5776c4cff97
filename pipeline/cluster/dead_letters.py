"""Reads the newest dead letters, and redrives dead letters, for the commands, the API and the pages."""

from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from typing import Any, NamedTuple

from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.core.errors import BrokerError, ConfigurationError
from pipeline.core.subscription import Routing
from pipeline.kafka.letters import LetterFacts, LetterFilter, newest, opened_letters
from pipeline.kafka.redrive import Redrive, Scope, opened_redrive, redriven_among
from pipeline.kafka.topics import DeadLetterTopic


class Letter(NamedTuple):
    """A dead letter, and whether it has been redriven; None if unknown."""

    facts: LetterFacts
    redriven: bool | None

    def as_document(self) -> dict[str, Any]:
        """The letter as JSON."""
        facts = {("webhookId" if name == "webhook_id" else name): fact for name, fact in asdict(self.facts).items()}
        return {**facts, "redriven": self.redriven}


def dead_letter_topic(definition: Definition) -> DeadLetterTopic:
    """The dead-letter topic of the definition. Raises: ConfigurationError, if the definition has none."""
    if definition.dlq is None:
        raise ConfigurationError("dlq: the definition names no dead-letter topic")
    return definition.dlq


async def newest_letters(
    definition: Definition, app: str, limit: int, wanted: LetterFilter
) -> tuple[list[Letter], list[str]]:
    """The newest letters, newest first, and sentences about what can't be read at present.

    Raises:
        BrokerError: the topic can't be read.
        ConfigurationError: there is no dead-letter topic.
    """
    dlq, routing = dead_letter_topic(definition), definition.stated_routing or Routing.KEY
    async with opened_letters(dlq) as reader:
        letters = await newest(reader, limit, wanted, routing)
        troubles = list(reader.troubles)
        try:
            places = await redriven_among(reader, letters, definition.source, dlq, app, routing=routing)
        except BrokerError as error:
            places = None
            troubles.append(str(error))
    return [Letter(each, None if places is None else each.place in places) for each in reversed(letters)], troubles


def redrive(
    settings: Settings, definition: Definition, scope: Scope, *, limit: int | None, dry_run: bool
) -> AbstractAsyncContextManager[Redrive]:
    """Open a redrive of the letters in *scope*. Raises: ConfigurationError, if there is no dead-letter topic."""
    return opened_redrive(
        definition.source,
        dead_letter_topic(definition),
        settings.app,
        scope,
        limit=limit,
        dry_run=dry_run,
        routing=definition.routing,
        ids=settings.webhook_ids,
    )
