"""Writes dead letters back to the source topic, each at most once, even if a redrive runs several times.

Consumer groups of the dead-letter cluster record the progress. A letter counts as redriven when the brokers of the
source topic have confirmed the event. A group's committed offset in a partition is the first letter that its runs have
not handled:

    <app>.redrive               runs over all letters, except those that would be dead-lettered again
    <app>.redrive.<id>          runs for one subscription
    <app>.redrive-skipped       runs over the letters that the first kind skips

Each letter belongs to at most two groups. If the letter is before the committed offset of one of them, it has been
redriven. So runs of different kinds don't redrive a letter twice. Kafka forgets an unused group after
offsets.retention.minutes (a week by default).
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from pipeline.core.bounded import Bounded
from pipeline.core.errors import BrokerError
from pipeline.core.model import DEAD_LETTER_PREFIX, Event
from pipeline.core.subscription import Routing
from pipeline.core.webhook_ids import FIRST_ID, SEAL, WebhookIds
from pipeline.kafka.dead_letters import written_value
from pipeline.kafka.internals import closed, disconnect
from pipeline.kafka.letters import LetterFacts, LetterReader, opened_letters, read_facts
from pipeline.kafka.topics import DeadLetterTopic, Source, count_partitions

HOPELESS: Final = {"unknown-subscription", "undecodable"}
"""Dead letters with these reasons would be dead-lettered again, unless their subscription is created first."""

NO_IDS: Final = WebhookIds()

LARGEST_REQUEST_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Scope:
    """The letters that a run handles.

    Attributes:
        subscription: handle only the letters of this subscription, with any reason; None: of all subscriptions.
        skipped: handle only the letters that a run over all letters skips.
    """

    subscription: str | None = None
    skipped: bool = False

    def group(self, app: str) -> str:
        """The consumer group that records the progress of runs of this kind."""
        if self.subscription is not None:
            return f"{app}.redrive.{self.subscription}"
        return f"{app}.redrive-skipped" if self.skipped else f"{app}.redrive"


MOST_SEEN: Final = 100_000
"""With how many of its newest letters a run compares a letter. The letters that a crash repeats are closer together."""

ALL: Final = Scope()
SKIPPED: Final = Scope(skipped=True)


@dataclass(frozen=True, slots=True)
class Redriven:
    """The result for one letter.

    Attributes:
        place: the new position in the source topic, `<topic>-<partition>-<offset>`; None if the letter was not written.
        webhook_id: the webhook-id with which the event is sent: the first one, or *place* if the seal of the first one
            is not valid. If the letter was not written, the id that the letter names.
        why_not: why the letter was skipped, a sentence; None if it was written (or would be, in a dry run).
        is_duplicate: whether the letter was skipped because this run has written another letter of the same event and
            subscription. After a crash, an event may have two.
    """

    letter: LetterFacts
    place: str | None = None
    webhook_id: str | None = None
    why_not: str | None = None
    is_duplicate: bool = False

    def as_document(self) -> dict[str, str | None]:
        """The result as JSON."""
        return {
            "letter": self.letter.place,
            "subscription": self.letter.subscription,
            "webhookId": self.webhook_id,
            "to": self.place,
            "whyNot": self.why_not,
        }


def why_never(letter: LetterFacts, sources: Sequence[str], routing: Routing) -> str | None:
    """Why no run redrives a letter; None if some runs do. Pure."""
    if letter.source is None and len(sources) > 1:
        return f"no header says from which of these topics it came: {', '.join(sources)}"
    if letter.source not in {None, *sources}:
        return f"it came from topic {letter.source}, not from {' or '.join(sources)}"
    if letter.subscription is None and routing is Routing.MATCH:
        return "no header says which subscription it was for, and with routing: match its key does not say so either"
    return None


def why_passed_over(
    letter: LetterFacts, scope: Scope, sources: Sequence[str], routing: Routing = Routing.KEY
) -> str | None:
    """Why a run of this scope skips a letter; None if it redrives it. Pure."""
    never = why_never(letter, sources, routing)
    if never is not None:
        return never
    if is_hopeless(letter) and scope == ALL:
        return f"{letter.reason or 'its key is not a subscription id'}; --skipped or --subscription redrives it"
    return None


def is_hopeless(letter: LetterFacts) -> bool:
    """Whether a run over all letters skips this one."""
    return letter.subscription is None or letter.reason in HOPELESS


def is_in(letter: LetterFacts, scope: Scope) -> bool:
    """Whether the letter belongs to this scope."""
    if scope.subscription is not None:
        return letter.subscription == scope.subscription
    return is_hopeless(letter) if scope.skipped else True


def scopes_of(letter: LetterFacts) -> list[Scope]:
    """The scopes whose runs redrive this letter."""
    wide = SKIPPED if is_hopeless(letter) else ALL
    return [wide] if letter.subscription is None else [wide, Scope(letter.subscription)]


def headers_back(letter: Event) -> list[tuple[str, bytes]]:
    """The event's own headers, its first webhook-id, and the seal of that id, which the worker verifies."""
    return [
        (name, value)
        for name, value in letter.headers
        if name in {FIRST_ID, SEAL} or not name.startswith(DEAD_LETTER_PREFIX)
    ]


def headers_to(addressee: str, letter: Event, ids: WebhookIds) -> list[tuple[str, bytes]]:
    """With `routing: match`: the event's own headers, its first webhook-id and the only subscription that it is for.

    Args:
        addressee: the subscription that the dead letter names.
        letter: the dead letter. Its first webhook-id is left out unless its seal is valid.
        ids: seals the webhook-id and the addressee; must have keys.
    """
    own = [(name, value) for name, value in letter.headers if not name.startswith(DEAD_LETTER_PREFIX)]
    return [*own, *ids.address(letter, addressee)]


def _digest(letter: Event, facts: LetterFacts) -> bytes:
    """Identifies what a redrive would write: only a letter that would write the same event is a duplicate.

    The webhook-id is not enough: a forged letter with the id of a genuine one would keep the genuine one from being
    redriven.
    """
    value = letter.value and hashlib.sha256(letter.value).digest()
    event = (facts.source, facts.subscription, letter.key, value, headers_back(letter))
    return hashlib.sha256(repr(event).encode("utf-8", "surrogatepass")).digest()


class Marks:
    """The progress of each scope's runs, looked up once per scope.

    Args:
        admin: a started client of the dead-letter cluster.
        app: the prefix of the groups' names.
        partitions: the partitions of the dead-letter topic.
    """

    def __init__(self, admin: AIOKafkaAdminClient, app: str, partitions: Iterable[TopicPartition]) -> None:
        self._admin = admin
        self._app = app
        self._partitions = list(partitions)
        self._known: dict[Scope, Mapping[int, int]] = {}

    async def of(self, scope: Scope) -> Mapping[int, int]:
        """By partition, the offset of the next letter for runs of *scope*; 0 if there was no run."""
        if not self._partitions:
            return {}
        if scope not in self._known:
            group = scope.group(self._app)
            offsets = await self._admin.list_consumer_group_offsets(group, partitions=self._partitions)
            if len(offsets) < len(self._partitions):
                # aiokafka ignores the error code of a group. Without this check, all letters would be redriven again.
                raise BrokerError(f"group {group}: its offsets can't be read")
            self._known[scope] = {each.partition: max(0, found.offset) for each, found in offsets.items()}
        return self._known[scope]

    async def are_past(self, letter: LetterFacts, scopes: Iterable[Scope]) -> bool:
        """Whether a run of one of these scopes has handled *letter*."""
        _, number, offset = letter.place.rsplit("-", 2)
        for scope in scopes:
            if int(offset) < (await self.of(scope)).get(int(number), 0):
                return True
        return False


@dataclass(frozen=True, slots=True)
class Redrive:
    """One run of a redrive.

    Attributes:
        producer: a producer of the source's cluster; None in a dry run, which writes and commits nothing.
        limit: the largest number of letters to write; None: no limit.
        routing: with `match`, letters go back to the subscription that they were for, and to no other.
        ids: verifies the first id of letters, and seals what is written.
        seen: digests (see `_digest`) of the newest events that this run has written, at most MOST_SEEN.
    """

    reader: LetterReader
    marks: Marks
    producer: AIOKafkaProducer | None
    source: Source
    scope: Scope
    limit: int | None
    routing: Routing
    ids: WebhookIds
    seen: Bounded[bytes, None] = field(default_factory=lambda: Bounded(MOST_SEEN))

    async def run(self) -> AsyncIterator[Redriven]:
        """Handle the letters after the end of the last run of this scope. Yields each result when it is confirmed."""
        left = self.limit
        starts = await self.marks.of(self.scope)
        for number in self.reader.ends:
            async for batch in self.reader.batches(number, starts.get(number, 0)):
                chosen, results = await self._choose(batch, left)
                written = await self._write([each for each in results if each[1].why_not is None])
                if self.producer is not None and chosen:
                    await self.reader.commit(number, chosen[-1].offset + 1)
                for letter, result in results:
                    place = written.get(letter.offset)
                    webhook_id = result.letter.webhook_id if place is None else self.ids.first_of(letter) or place
                    yield replace(result, place=place, webhook_id=webhook_id)
                if left is not None:
                    left -= sum(result.why_not is None for _, result in results)
                if left == 0:
                    return

    async def _choose(
        self, batch: Sequence[Event], left: int | None
    ) -> tuple[Sequence[Event], list[tuple[Event, Redriven]]]:
        """The part of *batch* that the limit allows, and the results for its letters: to be redriven, or skipped."""
        results: list[tuple[Event, Redriven]] = []
        for index, letter in enumerate(batch):
            if left == 0:
                return batch[:index], results
            facts = read_facts(letter, self.routing)
            if not is_in(facts, self.scope) or await self._is_done(facts):
                continue
            why_not = why_passed_over(facts, self.scope, self.source.topics, self.routing)
            is_duplicate = why_not is None and self._is_duplicate(letter, facts)
            why_not = "its event was dead-lettered twice, and is redriven once" if is_duplicate else why_not
            results.append((letter, Redriven(facts, why_not=why_not, is_duplicate=is_duplicate)))
            if left is not None and why_not is None:
                left -= 1
        return batch, results

    def _is_duplicate(self, letter: Event, facts: LetterFacts) -> bool:
        """Whether the run has already had a letter of the same event and subscription. Remembers this letter."""
        if facts.webhook_id is None:
            return False
        event = _digest(letter, facts)
        is_seen = event in self.seen
        self.seen[event] = None
        return is_seen

    async def _is_done(self, letter: LetterFacts) -> bool:
        """Whether a run of another scope has redriven the letter."""
        return await self.marks.are_past(letter, [each for each in scopes_of(letter) if each != self.scope])

    async def _write(self, letters: Sequence[tuple[Event, Redriven]]) -> dict[int, str]:
        """Write letters to their topics and wait for all confirmations.

        Returns the new place of each letter, by old offset.
        """
        if self.producer is None:
            return {}
        topics = [result.letter.source or self.source.topic for _, result in letters]
        sent = [
            await self.producer.send(
                topic, written_value(letter), letter.key, headers=self._headers(letter, result.letter)
            )
            for topic, (letter, result) in zip(topics, letters, strict=True)
        ]
        written = await asyncio.gather(*sent)
        return {
            letter.offset: f"{topic}-{record.partition}-{record.offset}"
            for topic, (letter, _), record in zip(topics, letters, written, strict=True)
        }

    def _headers(self, letter: Event, facts: LetterFacts) -> list[tuple[str, bytes]]:
        if self.routing is Routing.KEY or facts.subscription is None:
            return headers_back(letter)
        return headers_to(facts.subscription, letter, self.ids)


@asynccontextmanager
async def opened_redrive(
    source: Source,
    dlq: DeadLetterTopic,
    app: str,
    scope: Scope,
    *,
    limit: int | None,
    dry_run: bool,
    routing: Routing = Routing.KEY,
    ids: WebhookIds = NO_IDS,
) -> AsyncIterator[Redrive]:
    """A run with its connections.

    Raises:
        BrokerError: a cluster can't be reached, or a topic does not exist, can't be read or can't be written.
    """
    for topic in source.topics:
        await count_partitions(source.connection, topic)
    async with (
        opened_letters(dlq, scope.group(app)) as reader,
        _admin(dlq) as admin,
        _producer(source) as producer,
    ):
        marks = Marks(admin, app, [TopicPartition(dlq.topic, number) for number in reader.ends])
        yield Redrive(reader, marks, None if dry_run else producer, source, scope, limit, routing, ids)


async def redriven_among(
    reader: LetterReader,
    letters: Sequence[LetterFacts],
    source: Source,
    dlq: DeadLetterTopic,
    app: str,
    *,
    routing: Routing,
) -> set[str]:
    """The places of the letters that have been redriven.

    The times are unknown: groups record only the progress of runs.

    Raises:
        BrokerError: the groups' offsets can't be read.
    """
    found = set()
    try:
        async with _admin(dlq) as admin:
            marks = Marks(admin, app, [TopicPartition(dlq.topic, number) for number in reader.ends])
            for letter in letters:
                if why_never(letter, source.topics, routing) is None and await marks.are_past(
                    letter, scopes_of(letter)
                ):
                    found.add(letter.place)
    except KafkaError as error:
        raise BrokerError(f"topic {dlq.topic}: can't find out which letters were redriven: {error}") from error
    return found


@asynccontextmanager
async def _admin(dlq: DeadLetterTopic) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**dlq.connection.client_options())
    try:
        await admin.start()
        yield admin
    finally:
        await closed(admin)


@asynccontextmanager
async def _producer(source: Source) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        acks="all",
        enable_idempotence=True,
        max_request_size=LARGEST_REQUEST_BYTES,
        **source.connection.client_options(),
    )
    try:
        await producer.start()
        yield producer
    except KafkaError as error:
        raise BrokerError(
            f"topic {', '.join(source.topics)}: {error}; unconfirmed dead letters are redriven by the next run"
        ) from error
    finally:
        await disconnect(producer)
