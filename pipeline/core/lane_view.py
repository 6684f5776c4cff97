"""Where a lane stands: what others may ask of it, and nothing that changes it. That is in lane.py."""

import asyncio

from pipeline.core.claims import Claims
from pipeline.core.keys import decode_key
from pipeline.core.lane_events import LaneEvents
from pipeline.core.lane_state import LaneState
from pipeline.core.model import Cause, Status
from pipeline.core.policy import UNKNOWN_RULES
from pipeline.core.ports import Home, LaneServices, RowWriter
from pipeline.core.subscription import Subscription
from pipeline.core.waits import Waits


class LaneView:
    """One subscription in one partition, to look at. Others may read its attributes; `Lane` alone writes them.

    Args:
        key: the record key, the id in UTF-8; any other bytes for events that name no subscription.
        home: its partition.
        rows: writes its cursor row.
        services: what all lanes of the worker share.
        start: the offset before which nothing of it is unsettled.

    Attributes:
        is_suspect: its last attempt timed out, so the next one waits for a slot behind those of other lanes.
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
        """As `<Lane sub-1 behind next=40 <LaneEvents ...>>`."""
        return f"<Lane {self.name} {self.state.name.lower()} next={self.next} {self.events}>"

    @property
    def status(self) -> Status:
        """Of the subscription in this partition."""
        return self.state.status

    @property
    def next(self) -> int:
        """The cursor: the first offset that is not settled. At-most-once: a claimed event counts as settled."""
        return self.events.next(self._beyond)

    @property
    def first_waiting(self) -> int:
        """The cursor, or the first event before it that was claimed together with another and waits for its turn."""
        return min([self.next, *self.claims.ahead()])

    @property
    def dispatched(self) -> int:
        """Up to where the stream has been taken up in its partition."""
        return self._home.dispatched

    @property
    def _beyond(self) -> int:
        """Where what is not in memory begins."""
        return self._home.dispatched if self.state is LaneState.LIVE else self.read_from

    @property
    def read_from(self) -> int:
        """Where the log is read next; no meaning while live."""
        return self.events.unread.read_from

    @property
    def is_idle(self) -> bool:
        """Nothing queued, nothing under way, nothing that the window waits for."""
        return self.state is LaneState.LIVE and not self._runners and self.events.is_empty

    @property
    def is_in_window(self) -> bool:
        """Live, and the window holds all that is unsettled: the row says no more than the committed offset will."""
        if self.state is not LaneState.LIVE:
            return False
        cursor = self.next
        return cursor in self.events.held or cursor >= self._home.dispatched

    @property
    def is_probing(self) -> bool:
        """In FAILURE, and its first event is being sent to see whether the receiver takes it."""
        return self.state is LaneState.PROBING

    @property
    def is_draining(self) -> bool:
        """The partition is being given back."""
        return self._home.is_draining

    @property
    def is_delivering(self) -> bool:
        """Attempts may begin."""
        return not (self.state.is_halted or self.is_draining)

    @property
    def wants_to_read(self) -> bool:
        """Behind, due, and with room; while probing for one event."""
        return (
            (self.state is LaneState.BEHIND or (self.is_probing and not (self.events.queue or self.events.in_flight)))
            and not self.waits.is_timed
            and self.events.queue.has_room
            and not self._home.is_draining
        )

    @property
    def trusts_notes(self) -> bool:
        """Whether what the former owner has noted as settled is so. A row knows better, as does a command to come."""
        progress, subscription = self.events.progress, self.subscription
        awaits_command = subscription is not None and progress.revision < subscription.revision
        return progress.row is None and not awaits_command
