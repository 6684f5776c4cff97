"""The ledger of a simulation: what was requested, what receivers got, what is settled; and the rules that must hold.

An event may be lost only because of a command. The ledger records which events a command allows to be lost.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

from pipeline.core.ahead import unpack
from pipeline.core.beginnings import is_of_former
from pipeline.core.log_bounds import LARGEST_OFFSET
from pipeline.core.model import Cursor, Event
from pipeline.core.outcome import Delivered, Outcome, may_have_arrived
from pipeline.core.subscription import Qos, ReplayOffset, ReplayTimestamp, Skip, Subscription
from tests.simulation.actions import SUBSCRIPTIONS
from tests.support.fakes import TOPIC, RowTopic, SourceLog


class ViolationError(AssertionError):
    """A guarantee does not hold."""


@dataclass(slots=True)
class Sent:
    """A request as the receiver may have seen it. A request without an outcome may or may not have arrived.

    Attributes:
        carried_out: the revision in the durable row of its lane. Commands up to this revision were carried out before
            the request. At-most-once never sends an event before its row is durable.
        number: the number of the attempt, from 1.
        recoveries: how many FAILUREs of the subscription had ended before the request.
    """

    qos: Qos
    revision: int
    carried_out: int = -1
    number: int = 1
    recoveries: int = 0
    outcome: Outcome | None = None

    @property
    def may_have_arrived(self) -> bool:
        return self.outcome is None or may_have_arrived(self.outcome)


Place = tuple[str, int]
"""An event for one subscription: the id of the subscription, and the offset."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Events that a replay requires to be sent again: from *place* to *end*, by *revision* or a later revision."""

    revision: int
    place: int
    end: int


@cache
def _names_of(key: bytes | None, matches: bool) -> Sequence[str]:
    """The cached implementation of `Ledger.names_of`."""
    text = (key or b"").decode()
    if not matches:
        return text
    if text == "*":
        return SUBSCRIPTIONS
    return SUBSCRIPTIONS.replace(text.lower(), "") if text.isupper() else text


@dataclass(slots=True)
class Ledger:
    """The durable state, and what has happened.

    Attributes:
        matches: whether an event is for all subscriptions that its key names (`names_of`).
        commits_late: whether the drain of another topic may come between a drain and its commit. If rows become durable
            in that time, their events leave the window, and the commit's note contains them.
        begun_to: the revision in the last commit, before which subscriptions have begun.
        known: the subscriptions that are published now.
        asked_from: by subscription, the lowest offset of a replay, which may be before the subscription's start.
        claim_events: how many events of a lane at-most-once may claim at a time, and a crash may lose.
        committed: the committed offset of the partition.
        ahead: the note of the commit: the settled offsets after the committed one, as bits.
        sent: the requests of each event, in order.
        settled: events that are delivered, confirmed as dead letters, or given up by a rule and counted.
        excused: events below this offset may be lost, because of a command, a deletion or an edit of the QoS.
        excused_events: events that were skipped by a command.
        discarded: events below this offset were discarded by a replay from a time, which applies to every topic.
        unordered: events below this offset may be sent again or out of order, for the same reasons as *excused*.
        replayed: the revision of the last replay of each subscription. At-most-once may send an event again if its
            previous request was made before this replay was carried out.
        highest: the highest offset that was sent.
        incidents: how often a worker ended in any way other than a clean stop.
        observed: the QoS of each subscription as the owner has read it; None for a deleted subscription.
        given_up: events that a former owner has given up, which does not settle them.
        existing: subscriptions that exist according to the published records.
        owned: events whose subscription existed when they were dispatched.
        replays: for each subscription, the events required by the last replay that the owner has read.
        recoveries: how many FAILUREs of each subscription have ended.
        frozen: whether everything is done, so that nothing may be sent any more.
    """

    log: SourceLog
    rows: RowTopic
    claim_events: int = 1
    matches: bool = False
    commits_late: bool = False
    begun_to: int = 0
    known: dict[str, Subscription] = field(default_factory=dict)
    asked_from: dict[str, int] = field(default_factory=lambda: defaultdict(lambda: LARGEST_OFFSET))
    committed: int = 0
    ahead: int = 0
    sent: dict[Place, list[Sent]] = field(default_factory=lambda: defaultdict(list))
    settled: set[Place] = field(default_factory=set)
    excused: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    excused_events: set[Place] = field(default_factory=set)
    discarded: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    unordered: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    replayed: dict[str, int] = field(default_factory=lambda: defaultdict(lambda: -1))
    highest: dict[str, int] = field(default_factory=lambda: defaultdict(lambda: -1))
    incidents: int = 0
    levels: dict[str, set[Qos]] = field(default_factory=lambda: defaultdict(set))
    observed: dict[str, Qos | None] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    given_up: set[Place] = field(default_factory=set)
    existing: set[str] = field(default_factory=set)
    owned: set[Place] = field(default_factory=set)
    replays: dict[str, "Demand"] = field(default_factory=dict)
    recoveries: Counter[str] = field(default_factory=Counter)
    frozen: bool = False

    def names_of(self, record: Event) -> Sequence[str]:
        """The subscriptions that a record is for according to its key, whether they exist or not.

        With `matches`: a letter is for one subscription, a capital for all except one, an asterisk for all.
        """
        return _names_of(record.key, self.matches)

    def places(self) -> Iterator[Place]:
        """Each event, once for each subscription to which it may have to be sent."""
        begins = {name: self._begins_at(name) for name in self.known}
        for record in self.log.records:
            for name in self.names_of(record):
                if not self.matches or begins.get(name, self.log.end) <= record.offset:
                    yield name, record.offset

    def _begins_at(self, name: str) -> int:
        subscription = self.known.get(name)
        if subscription is None:
            return self.log.end
        return subscription.start_in(TOPIC, 0, None) or 0

    # ----------------------------------------------------------- what users do

    def commanded(self, subscription: Subscription) -> None:
        """Record that a revision was published."""
        name, revision = subscription.id, subscription.revision
        self.levels[name].add(subscription.qos)
        self.known[name] = subscription
        if self.matches and subscription.created == revision:
            self._made(name)
        match subscription.resume_from:
            case ReplayOffset(_, offset, discards):
                self._moved(name, revision, offset, discards=discards)
            case ReplayTimestamp(timestamp_ms, discards):
                found = self.log.offset_at(timestamp_ms)
                place = self.log.end if found is None else found
                self._moved(name, revision, place, discards=discards)
                if discards:
                    self.discarded[name] = max(self.discarded[name], place)
            case Skip(_, offset):
                self.excused_events.add((name, offset))
            case None:
                pass

    def _made(self, name: str) -> None:
        """Record that a subscription begins. Removes what was recorded about a deleted subscription with the same
        id."""
        for place in [place for place in self.sent if place[0] == name]:
            del self.sent[place]
        self.settled = {place for place in self.settled if place[0] != name}
        self.highest.pop(name, None)
        self.replays.pop(name, None)
        self.replayed.pop(name, None)
        self.asked_from.pop(name, None)
        self.levels[name] = {self.known[name].qos}
        self.observed.pop(name, None)
        self.deleted.discard(name)

    def _moved(self, name: str, revision: int, place: int, *, discards: bool) -> None:
        self.asked_from[name] = min(self.asked_from[name], place)
        if discards:
            self.excused[name] = max(self.excused[name], place)
        self.replayed[name] = revision

    def observe(self, name: str, subscription: Subscription | None) -> None:
        """Record that the owner has read a revision. If it changes the QoS, existing events may be lost or repeated."""
        level = None if subscription is None else subscription.qos
        if self.matches and (subscription is None or subscription.created != self._created(name)):
            return  # the revision belongs to a deleted subscription
        if name in self.observed and self.observed[name] is not level:
            self.excused[name] = max(self.excused[name], self.log.end)
            self.unordered[name] = max(self.unordered[name], self.log.end)
        self.observed[name] = level
        self._observe_replay(name, subscription)

    def _observe_replay(self, name: str, subscription: Subscription | None) -> None:
        if subscription is None:
            self.replays.pop(name, None)
            return
        match subscription.resume_from:
            case ReplayOffset(_, offset):
                self.replays[name] = Demand(subscription.revision, offset, self.log.end)
            case ReplayTimestamp(timestamp_ms):
                found = self.log.offset_at(timestamp_ms)
                self.replays[name] = Demand(
                    subscription.revision, self.log.end if found is None else found, self.log.end
                )
            case _:
                pass

    def is_excused(self, place: Place) -> bool:
        name, offset = place
        return offset < self.excused[name] or offset < self.log.begin or place in self.excused_events

    # ----------------------------------------------------------- what the core does

    def send(self, subscription: Subscription, offset: int, number: int, *, is_owner: bool) -> Sent:
        """Record a request that is sent, with the number of the attempt. Raises: ViolationError."""
        name = subscription.id
        place = (name, offset)
        if self.matches and offset < min(subscription.start_in(TOPIC, 0, None) or 0, self.asked_from[name]):
            raise ViolationError(f"{place} is sent although it is before the start of its subscription")
        if self.matches and subscription.created != self._created(name):
            return Sent(subscription.qos, subscription.revision)  # the worker has not read the deletion yet
        before = self.sent[place]
        if self.frozen:
            raise ViolationError(f"{place} is sent again although everything was settled")
        self._check_order(subscription, offset)
        if subscription.qos is Qos.AT_MOST_ONCE:
            self._check_at_most_once(subscription, offset, before, is_owner=is_owner)
        elif subscription.qos is Qos.AT_LEAST_ONCE:
            self._check_repetition(subscription, offset)
            self._check_number(name, offset, number, before)
        self.highest[name] = max(self.highest[name], offset)
        row = self.rows.rows.get(name.encode())
        sent = Sent(
            subscription.qos,
            subscription.revision,
            -1 if row is None else row.revision,
            number,
            self.recoveries[name],
        )
        before.append(sent)
        return sent

    def _check_order(self, subscription: Subscription, offset: int) -> None:
        """At the ordered levels, the first requests of events must follow the order of offsets."""
        name = subscription.id
        # A former owner that did not know the subscription may have given up the event, and sent later ones.
        is_first = not self.sent[name, offset] and (name, offset) not in self.settled | self.given_up
        if not subscription.qos.is_ordered or not is_first or self.replayed[name] >= 0:
            return
        if offset >= self.unordered[name] and offset < self.highest[name]:
            raise ViolationError(f"{name}: {offset} is sent for the first time after {self.highest[name]}")

    def _check_at_most_once(
        self, subscription: Subscription, offset: int, before: list[Sent], *, is_owner: bool
    ) -> None:
        name = subscription.id
        for sent in before:
            counts = sent.qos is Qos.AT_MOST_ONCE and sent.carried_out >= self.replayed[name]
            if counts and sent.may_have_arrived and offset >= self.unordered[name]:
                raise ViolationError(f"{name}: at-most-once sends {offset} again after {sent.outcome}")
        if (is_owner or self.replayed[name] < 0) and self.would_be_sent_again(name, offset):
            raise ViolationError(f"{name}: at-most-once sends {offset} before its row is durable")

    def _check_repetition(self, subscription: Subscription, offset: int) -> None:
        name = subscription.id
        excused = offset < self.unordered[name] or self.replayed[name] >= 0
        if not self.incidents and not excused and (name, offset) in self.settled:
            raise ViolationError(f"{name}: {offset} is sent again although it is settled and every stop was clean")

    def _check_number(self, name: str, offset: int, number: int, before: list[Sent]) -> None:
        """At an ordered level, the count of attempts starts anew only at a crash, a replay or the end of a FAILURE.

        If a command ends a FAILURE during a probe, the probe counts as the first attempt.
        """
        is_excused = offset < self.unordered[name] or self.replayed[name] >= 0 or name in self.deleted
        if self.incidents or is_excused or not before:
            return
        last = before[-1]
        numbers = {last.number + 1} if last.recoveries == self.recoveries[name] else {1, 2}
        if number not in numbers:
            raise ViolationError(f"{name}: attempt {number} of {offset} comes after attempt {last.number}")

    def _created(self, name: str) -> int | None:
        subscription = self.known.get(name)
        return None if subscription is None else subscription.created

    def answered(self, sent: Sent, place: Place, outcome: Outcome) -> None:
        sent.outcome = outcome
        if isinstance(outcome, Delivered) and (not self.matches or sent in self.sent[place]):
            self.settled.add(place)

    # ----------------------------------------------------------- what is durable

    def row_written(self, key: bytes, row: Cursor | None) -> None:
        """Check a row before it becomes durable: its cursor does not go back within a revision, except for handed-back
        claims.
        """
        old = self.rows.rows.get(key)
        name = key.decode()
        if old is None or row is None or row.revision != old.revision or row.next >= old.next:
            return
        between = [record for record in self.log.read(row.next, old.next - row.next) if name in self.names_of(record)]
        between = [record for record in between if record.offset < old.next]
        between = [record for record in between if (name, record.offset) not in self.excused_events]
        if Qos.AT_MOST_ONCE in self.levels[name] and len(between) <= self.claim_events:
            return
        if name not in self.deleted and self.log.begin <= row.next:
            raise ViolationError(f"the row of {name} goes back from {old.next} to {row.next}")

    def commit(self, offset: int, note: str, begun_to: int) -> None:
        """Record a commit, with its note. Raises: ViolationError."""
        if offset < self.committed:
            raise ViolationError(f"the committed offset goes back to {offset} from {self.committed}")
        self.committed, self.ahead, self.begun_to = offset, unpack(note, offset), begun_to
        if self.matches:
            return  # `check_nothing_is_lost` also takes the rows of the lanes into account
        for record in self.log.read(offset, self.ahead.bit_length()):
            place = ((record.key or b"").decode(), record.offset)
            is_done = place in self.settled or self.is_excused(place)
            is_kept = self.commits_late and self.would_be_sent_again(*place)
            if self._is_noted(record.offset) and not (is_done or is_kept):
                raise ViolationError(f"{place} is in the note of offset {offset}, but is not settled")

    def _is_noted(self, offset: int) -> bool:
        return offset >= self.committed and bool(self.ahead >> (offset - self.committed) & 1)

    def would_be_sent_again(self, name: str, offset: int) -> bool:
        """Whether a worker that takes over now would send the event."""
        row = self.rows.rows.get(name.encode())
        subscription = self.known.get(name)
        if row is not None and not (self.matches and subscription is not None and is_of_former(row, subscription)):
            return offset >= row.next
        if self.matches and subscription is not None and subscription.created >= self.begun_to:
            return offset >= self._begins_at(name)
        return offset >= self.committed and not self._is_noted(offset)

    def check_nothing_is_lost(self) -> None:
        """Check I1 and I3: if every worker were killed now, the next owner would find every unsettled event."""
        names = {*self.observed, *self.known}
        owed = {name for name in names if self._owed_level(name) in {Qos.AT_LEAST_ONCE, Qos.AUTO}}
        for place in self.places():
            name = place[0]
            if name not in owed or place in self.settled:
                continue
            if self.is_excused(place) or self.would_be_sent_again(*place):
                continue
            row = self.rows.rows.get(name.encode())
            raise ViolationError(
                f"{place} is not settled, and a crash would lose it: committed {self.committed}, row {row}"
            )

    def _owed_level(self, name: str) -> Qos | None:
        if name in self.observed or not self.matches or name not in self.known:
            return self.observed.get(name)
        return self.known[name].qos

    # ----------------------------------------------------------- the end

    def check_the_table(self, known: dict[str, Subscription]) -> None:
        """Check the table of guarantees for every event. Call this when everything is at rest."""
        missing: Counter[str] = Counter()
        for place in self.places():
            name = place[0]
            if self.is_excused(place) or place in self.settled:
                continue
            subscription = known.get(name)
            if subscription is None:
                raise ViolationError(f"{place} belongs to no subscription, but was neither dead-lettered nor counted")
            if subscription.qos in {Qos.AT_LEAST_ONCE, Qos.AUTO}:
                raise ViolationError(f"{place} was never delivered")
            if not any(sent.may_have_arrived for sent in self.sent[place]):
                missing[name] += 1
        self._check_replays(known)
        for name, count in missing.items():
            if known[name].qos is Qos.AT_MOST_ONCE and count > self.incidents * self.claim_events:
                raise ViolationError(f"{name}: at-most-once lost {count} events in {self.incidents} crashes")
            if not self.incidents:
                raise ViolationError(f"{name}: {count} events were lost although every stop was clean")

    def _check_replays(self, known: dict[str, Subscription]) -> None:
        """Check that the events of each replay were sent again."""
        for name, offset in list(self.places()):
            demand = self.replays.get(name)
            if demand is None or not demand.place <= offset < demand.end or self.is_excused((name, offset)):
                continue
            sent = self.sent[name, offset]
            if known[name].qos in {Qos.AT_LEAST_ONCE, Qos.AUTO} and not any(
                each.revision >= demand.revision for each in sent
            ):
                raise ViolationError(f"{name}: the replay from {demand.place} did not send {offset} again")

    # ----------------------------------------------------------- events without a subscription

    def handed_out(self, name: str, offset: int) -> None:
        if name in self.existing:
            self.owned.add((name, offset))

    def given_up_as_unknown(self, place: Place) -> None:
        """Record an event that was given up as unknown. Raises: ViolationError, if its subscription exists."""
        if place in self.owned and place[0] in self.existing and not self.is_excused(place):
            raise ViolationError(f"{place} was given up as unknown although its subscription existed")
