"""The part of a lane that other modules may read. lane.py changes it."""

import asyncio

from pipeline.core.claims import Claims
from pipeline.core.keys import decode_key
from pipeline.core.lane_events import LaneEvents
from pipeline.core.lane_state import LaneState
from pipeline.core.model import Cause, Status
from pipeline.core.observer import DropRule
from pipeline.core.policy import UNKNOWN_RULES
from pipeline.core.ports import Home, LaneServices, RowWriter
from pipeline.core.subscription import Subscription
from pipeline.core.waits import Waits


class LaneView:
    """One subscription in one partition. Other classes may read its attributes; only `Lane` writes them.

    Args:
        key: the id of the subscription in UTF-8, or the key of events that belong to no subscription.
        rows: writes the lane's cursor row.
        start: all events of the lane before this offset are settled.

    Attributes:
        is_suspect: whether the last attempt timed out. Other lanes get free slots before a suspect.
    """

    def __init__(self, key: bytes, home: Home, rows: RowWriter, services: LaneServices, start: int) -> None:
        self.key = key
        self.name = decode_key(key)
        self.subscription: Subscription | None = None
        self.rules = UNKNOWN_RULES
        self.state = LaneState.LIVE
        self.cause: Cause | None = None
        self.is_suspect = False
        self.events = LaneEvents(home, services, start)
        self.claims = Claims(key, self.events, rows, services.limits.claim_events)
        self.waits = Waits()
        self._home = home
        self._rows = rows
        self._services = services
        self._awaited: asyncio.Future[None] | None = None
        self._runners = 0
        self._concurrency = 1
        self._settled_at_receipt = False

    def __repr__(self) -> str:
        """For example `<Lane sub-1 behind next=40 <LaneEvents ...>>`."""
        return f"<Lane {self.name} {self.state.name.lower()} next={self.next} {self.events}>"

    @property
    def status(self) -> Status:
        """The status of the subscription in this partition."""
        return self.state.status

    @property
    def next(self) -> int:
        """The cursor: the first offset that is not settled. With at-most-once, a claimed event counts as settled."""
        return self.events.next(self._beyond)

    @property
    def first_waiting(self) -> int:
        """The first event to be delivered: at the cursor, or an earlier one that was claimed and is not sent yet."""
        return min([self.next, *self.claims.ahead()])

    @property
    def dispatched_to(self) -> int:
        """The offset up to which the stream of the partition was dispatched."""
        return self._home.dispatched_to

    @property
    def _beyond(self) -> int:
        """The first offset that is not in memory."""
        return self._home.dispatched_to if self.state is LaneState.LIVE else self.read_from

    @property
    def read_from(self) -> int:
        """The offset at which the lane continues to read the log; meaningless while the lane is live."""
        return self.events.in_log.read_from

    @property
    def is_idle(self) -> bool:
        """Whether the lane is live, without events in memory or in the window, and without runners."""
        return self.state is LaneState.LIVE and not self._runners and self.events.is_empty

    @property
    def is_in_window(self) -> bool:
        """Whether the lane is live and the window holds all its unsettled events.

        The committed offset is then enough, and the lane needs no row.
        """
        if self.state is not LaneState.LIVE:
            return False
        cursor = self.next
        return cursor in self.events.held or cursor >= self._home.dispatched_to

    @property
    def is_probing(self) -> bool:
        """Whether the lane is in FAILURE, and its first event is being sent as a probe."""
        return self.state is LaneState.PROBING

    @property
    def is_draining(self) -> bool:
        """Whether the partition is being given back."""
        return self._home.is_draining

    @property
    def is_delivering(self) -> bool:
        """Whether attempts may begin."""
        return not (self.state.is_halted or self.is_draining)

    @property
    def wants_to_read(self) -> bool:
        """Whether the log has to be read: the lane is behind, is due and has room, or needs an event for a probe."""
        return (
            (self.state is LaneState.BEHIND or (self.is_probing and not (self.events.queue or self.events.in_flight)))
            and not self.waits.is_timed
            and self.events.queue.has_room
            and not self._home.is_draining
        )

    def report_dropped(self, rule: DropRule, offset: int, count: int = 1, *, since: int | None = None) -> None:
        """Report that *count* events of the lane were given up; see `Observer.dropped`."""
        self._services.observer.dropped(
            rule,
            count,
            subscription=self.name,
            topic=self._home.topic,
            partition=self._home.number,
            offset=offset,
            since=since,
        )

    @property
    def trusts_notes(self) -> bool:
        """Whether events that the former owner noted as settled are skipped.

        If the lane has a row or a command to carry out, they are not: a replay may deliver them again.
        """
        return self.events.progress.row is None and not self.awaits_command

    @property
    def awaits_command(self) -> bool:
        """Whether the newest revision of the subscription has not been carried out here yet."""
        return self.subscription is not None and self.events.progress.revision < self.subscription.revision
