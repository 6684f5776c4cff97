"""The operations on dead letters: listing them, and writing them back to the source topic."""

import asyncio
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from pipeline.cluster.dead_letters import newest_letters, redrive
from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.core.errors import BrokerError, ConfigurationError
from pipeline.kafka.letters import LetterFilter
from pipeline.kafka.redrive import Redriven, Scope
from pipeline.subscriptions.fields import instant
from pipeline.subscriptions.registry import Registry
from pipeline.web.api.event_models import LetterQuery, Letters, RedriveRequest, RedriveResult
from pipeline.web.api.lookup import Lookup, unknown
from pipeline.web.api.operations import ApiAnswer, Call, Operation
from pipeline.web.api.reading import RefusedError
from pipeline.web.principal import Principal
from pipeline.web.tenant_limits import Turns

PATH: Final = "/api/dead-letters"
SECONDS: Final = 30.0
"""The time limit for reading the topic, which has no index: a filter has to read every letter."""
MOST_SHOWN: Final = 100


class DeadLetterOperations:
    """The operations on dead letters."""

    def __init__(self, settings: Settings, definition: Definition, registry: Registry, lookup: Lookup) -> None:
        self._settings = settings
        self._definition = definition
        self._registry = registry
        self._lookup = lookup
        # The operations are limited, because reading takes CPU time from deliveries, and concurrent redrives could send
        # a letter twice.
        self._reading = Turns("requests for dead letters are waiting")
        self._redriving = Turns("redrives are waiting")

    def operations(self) -> Sequence[Operation]:
        """The operations with their paths."""
        ok, problems = HTTPStatus.OK, (HTTPStatus.NOT_FOUND,)
        return (
            Operation("GET", PATH, self.list_dead_letters, {ok: Letters}, query=LetterQuery, problems=problems),
            Operation(
                "POST",
                f"{PATH}/_redrive",
                self.redrive_dead_letters,
                {ok: RedriveResult},
                body=RedriveRequest,
                scope="write",
                is_body_recorded=True,
                problems=problems,
            ),
        )

    async def list_dead_letters(self, call: Call) -> ApiAnswer:
        """List the newest dead letters, newest first, without the bodies and headers of the events.

        `redriven` is null if unknown. Letters of a deleted subscription are found too.
        """
        self._check_topic()
        query: LetterQuery = call.query
        since = None if query.since is None else int(instant(query.since) * 1000)
        wanted = LetterFilter(query.subscription, query.reason, since, self._seen_by(call.principal))
        try:
            async with self._reading.turn(call.principal), asyncio.timeout(SECONDS):
                letters, troubles = await newest_letters(self._definition, self._settings.app, query.limit + 1, wanted)
        except TimeoutError:
            raise BrokerError(f"the dead letters could not be read within {SECONDS:.0f} s; ask for fewer") from None
        asked = query.subscription
        if asked is not None and not letters and call.principal.seen(self._registry.get(asked)) is None:
            raise unknown(asked)
        shown = [each.as_document() for each in letters[: query.limit]]
        return ApiAnswer({"items": shown, "hasMore": len(letters) > query.limit, "problems": troubles})

    async def redrive_dead_letters(self, call: Call) -> ApiAnswer:
        """Write dead letters back to the source topic, each one once and only for its former subscription.

        With `subscription`, only letters of this subscription are written. Without it, letters of unknown subscriptions
        are skipped; with `skipped`, only these are written. With `dryRun`, nothing is written. `letters` contains the
        first hundred results. If the run could not finish, `problems` says why.
        """
        self._check_topic()
        asked: RedriveRequest = call.body
        await self._lookup.catch_up()
        self._refuse_unseen(asked.subscription, call.principal)
        done = _Summary()
        try:
            scope, limit = Scope(asked.subscription, asked.skipped), asked.limit
            opened = redrive(self._settings, self._definition, scope, limit=limit, dry_run=asked.dry_run)
            async with self._redriving.turn(call.principal, SECONDS), opened as run:
                async for result in run.run():
                    done.add(result)
                done.problems += run.reader.troubles
        except BrokerError as error:
            if asked.dry_run or not done.redriven:
                raise
            done.problems.append(str(error))  # letters that were written before are recorded
        return ApiAnswer(done.as_document(dry_run=asked.dry_run))

    def _check_topic(self) -> None:
        if self._definition.dlq is None:
            raise RefusedError(HTTPStatus.NOT_FOUND, "dlq: the definition names no dead-letter topic")

    def _refuse_unseen(self, subscription: str | None, principal: Principal) -> None:
        """Refuse a subscription that does not exist: its dead letters would be dead-lettered again."""
        if subscription is not None and principal.seen(self._registry.get(subscription)) is None:
            raise unknown(subscription)
        if subscription is None and principal.tenant:
            raise ConfigurationError("subscription: is required with a token that is limited to a tenant")

    def _seen_by(self, principal: Principal) -> Container[str | None] | None:
        return _Seen(self._registry, principal) if principal.tenant else None


@dataclass(slots=True)
class _Summary:
    """What a redrive has done so far."""

    redriven: int = 0
    skipped: int = 0
    letters: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, result: Redriven) -> None:
        self.redriven += result.why_not is None
        self.skipped += result.why_not is not None
        if len(self.letters) < MOST_SHOWN:
            self.letters.append(result.as_document())

    def as_document(self, *, dry_run: bool) -> dict[str, Any]:
        return {
            "redriven": self.redriven,
            "skipped": self.skipped,
            "changed": 0 if dry_run else self.redriven,
            "dryRun": dry_run,
            "letters": self.letters,
            "problems": self.problems,
        }


class _Seen:
    """The ids of the subscriptions that a principal may see."""

    def __init__(self, registry: Registry, principal: Principal) -> None:
        self._registry = registry
        self._principal = principal

    def __contains__(self, subscription_id: object) -> bool:
        return (
            isinstance(subscription_id, str) and self._principal.seen(self._registry.get(subscription_id)) is not None
        )
