"""The people of a simulation: they publish revisions of subscriptions."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from pipeline.core.model import Event
from pipeline.core.subscription import (
    DesiredStatus,
    Filter,
    Interrupt,
    Jitter,
    Qos,
    ReplayOffset,
    ReplayTimestamp,
    RetryPolicy,
    Skip,
    Start,
    Subscription,
)
from tests.simulation.actions import Command, Edit, Replay
from tests.simulation.ledger import Ledger
from tests.simulation.worker import Setting
from tests.support.fakes import MS_PER_OFFSET, TOPIC

LEVELS: Final = {"l": Qos.AT_LEAST_ONCE, "a": Qos.AT_MOST_ONCE, "b": Qos.AUTO, "n": Qos.NONE}
RETRY: Final = RetryPolicy(max_attempts=2, initial_delay_seconds=1.0, max_delay_seconds=4.0, jitter=Jitter.FULL)
PROBES: Final = RetryPolicy(initial_delay_seconds=15.0, max_delay_seconds=60.0, jitter=Jitter.FULL)


@dataclass(frozen=True, slots=True, eq=False)
class _Picky:
    """A filter that rejects every third event, and records in the ledger that this event need not be delivered."""

    ledger: Ledger

    def __call__(self, event: Event) -> bool:
        if event.offset % 3:
            return True
        self.ledger.excused_events.add(((event.key or b"").decode(), event.offset))
        return False


@dataclass(frozen=True, slots=True, eq=False)
class _Named:
    """A filter that matches events whose keys name the subscription; with *picks*, it rejects every third event."""

    ledger: Ledger
    name: str
    picks: bool

    def __call__(self, event: Event) -> bool:
        if self.name not in self.ledger.names_of(event):
            return False
        if not self.picks or event.offset % 3:
            return True
        self.ledger.excused_events.add((self.name, event.offset))
        return False


class People:
    """Publishes revisions of subscriptions.

    Args:
        ledger: records every command.
        setting: the setting of the simulation.
        next_of: returns the next event of a subscription, as users see it.
    """

    def __init__(self, ledger: Ledger, setting: Setting, next_of: Callable[[str], int]) -> None:
        self.changes: list[tuple[str, Subscription | None]] = []
        self.specs: dict[str, Subscription] = {}
        self._ledger = ledger
        self._rate = setting.rate
        self._matches = setting.matches
        self._topic = TOPIC if setting.has_neighbour else None
        self._picks = setting.picks
        self._interrupt = Interrupt(setting.interrupts, setting.interrupts)
        self._probes = PROBES if setting.probes else None
        self._next_of = next_of
        if not setting.is_empty:
            for name in LEVELS:
                self._create(name)

    def _create(self, name: str) -> None:
        qos = LEVELS[name]
        spec = Subscription(
            id=name,
            revision=0,
            url="https://receiver.example/hook",
            qos=qos,
            retry=RETRY,
            rate=self._rate,
            filter=self._filter_of(name),
            interrupt=self._interrupt,
            probes=self._probes,
            concurrency=_concurrency(qos),
        )
        if self._matches:
            spec = replace(spec, created=len(self.changes), starts={TOPIC: Start((self._ledger.log.end,))})
        self._publish(spec)

    def _filter_of(self, name: str) -> Filter | None:
        if self._matches:
            return _Named(self._ledger, name, picks=self._picks)
        return _Picky(self._ledger) if self._picks else None

    def _publish(self, subscription: Subscription, *, repeats: bool = True) -> None:
        former = self.specs.get(subscription.id)
        earlier = former.commands if former is not None and repeats else ()
        subscription = replace(subscription, revision=len(self.changes), earlier=earlier)
        self.changes.append((subscription.id, subscription))
        self.specs[subscription.id] = subscription
        self._ledger.existing.add(subscription.id)
        self._ledger.commanded(subscription)

    def _delete(self, name: str) -> None:
        del self.specs[name]
        self._ledger.known.pop(name, None)
        self.changes.append((name, None))
        self._ledger.deleted.add(name)
        self._ledger.existing.discard(name)

    def act(self, action: Command | Replay | Edit) -> None:
        """Publish the command of the action, if the subscription allows it now."""
        name = action.subscription
        spec = self.specs.get(name)
        if spec is None:
            if isinstance(action, Command) and action.wish == "create":
                self._create(name)
            return
        spec = replace(spec, resume_from=None)
        match action:
            case Edit(_, qos):
                self._publish(replace(spec, qos=qos, concurrency=_concurrency(qos)))
            case Replay():
                self._publish(replace(spec, resume_from=self._place_of(action)))
            case Command():
                self._wish(spec, action)

    def _wish(self, spec: Subscription, command: Command) -> None:
        match command.wish:
            case "create":
                pass
            case "delete":
                self._delete(spec.id)
            case "pause":
                self._publish(replace(spec, desired_status=DesiredStatus.PAUSED))
            case "stop":
                self._publish(replace(spec, desired_status=DesiredStatus.STOPPED))
            case "resume":
                self._publish(replace(spec, desired_status=DesiredStatus.DELIVER))
            case "restore":
                self._publish(replace(spec, desired_status=DesiredStatus.DELIVER), repeats=False)
            case "skip":
                self._publish(
                    replace(
                        spec,
                        desired_status=DesiredStatus.DELIVER,
                        resume_from=Skip(0, self._next_of(spec.id), self._topic),
                    )
                )

    def resume(self, name: str) -> None:
        """Publish a revision with which the subscription delivers."""
        self._publish(replace(self.specs[name], desired_status=DesiredStatus.DELIVER, resume_from=None))

    def _place_of(self, replay: Replay) -> ReplayOffset | ReplayTimestamp:
        log = self._ledger.log
        offset = max(0, log.end - replay.back)
        if replay.by_time and log.offset_at(offset * MS_PER_OFFSET) is not None:
            return ReplayTimestamp(offset * MS_PER_OFFSET, replay.discards)
        return ReplayOffset(0, offset, replay.discards, self._topic)


def _concurrency(qos: Qos) -> int:
    return 1 if qos.is_ordered else 2
