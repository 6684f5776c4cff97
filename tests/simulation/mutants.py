"""The core with one planted fault: part of a method is replaced, as a mistake in an edit would do."""

import inspect
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.beginnings import Beginnings
from pipeline.core.claims import Claims
from pipeline.core.commands import Commands
from pipeline.core.delivery import Delivery
from pipeline.core.dispatcher import Dispatcher
from pipeline.core.in_log import InLog
from pipeline.core.lane import Lane
from pipeline.core.lane_events import LaneEvents
from pipeline.core.lane_rows import LaneRows
from pipeline.core.lane_view import LaneView
from pipeline.core.lease import Lease
from pipeline.core.opening import Opening
from pipeline.core.partition import Partition
from pipeline.core.probing import ProbeGate
from pipeline.core.reconcile import Reconciler
from pipeline.core.runner import Runner
from pipeline.core.window import SharedWindow, Window
from tests.simulation.actions import (
    CASTS,
    MATCHING_CASTS,
    Answer,
    Arrive,
    Checkpoint,
    Command,
    Commit,
    Crash,
    Fetch,
    Hear,
    Kind,
    Lapse,
    Pass,
    Replay,
    Rows,
    Stop,
    Stream,
    TakeOver,
)
from tests.simulation.known import (
    BEGUN_BEHIND_A_COMMIT,
    CRASH_AFTER_A_REPLAY_OVER_A_NOTE,
    CREATED_UNHEARD,
    LOG_AHEAD_OF_STREAM,
    PAUSED_IN_A_LONG_WAIT,
    PROBED_IN_VAIN,
    PROBED_TOGETHER,
    PROBED_WITH_OTHERS_WAITING,
    REPLAY_BY_TIME_OVER_A_NOTE,
    REPLAYED_OVER_A_NOTE,
    REPLAYED_TO_BEHIND_A_CLAIM,
    REPLAYED_TO_BEHIND_CLAIMS,
    RESUMED_DURING_A_PROBE,
    RESUMED_WITH_OTHERS_IN_FLIGHT,
    ROW_DELETED_UNDER_A_HELD_PREFIX,
    SKIP_DURING_A_CLAIM,
    SKIPPED_IN_ONE_TOPIC,
    WANTED_WHILE_READ,
    Schedule,
)
from tests.simulation.worker import Setting
from tests.support.fakes import MemoryRegistry, MemoryRows


@dataclass(frozen=True, slots=True)
class Mutant:
    """A fault in the core.

    Attributes:
        name: what the faulty core does.
        owner: the class that has the fault.
        function: the name of the method or property that has the fault.
        was: the text that is replaced, which the method contains once.
        becomes: the new text.
        kind, casts, only, setting: parameters with which random schedules soon show the fault.
        known: a schedule that shows the fault, if random schedules would take too long.
    """

    name: str
    owner: type
    function: str
    was: str
    becomes: str
    kind: Kind = "crashes"
    casts: Sequence[str] = CASTS
    only: tuple[type, ...] = ()
    setting: Setting | None = None
    known: Schedule | None = None

    def planted(self) -> Any:
        """The faulty method or property. Raises: LookupError, if the core no longer contains the text."""
        attribute = inspect.getattr_static(self.owner, self.function)
        is_property = isinstance(attribute, property)
        source = textwrap.dedent(inspect.getsource(attribute.fget if is_property else attribute))
        if source.count(self.was) != 1:
            raise LookupError(f"{self.owner.__name__}.{self.function} does not contain {self.was!r} once")
        source = source.replace(self.was, self.becomes).removeprefix("@property\n")
        names: dict[str, Any] = {}
        namespace = vars(sys.modules[self.owner.__module__])
        exec(compile(source, f"<{self.name}>", "exec"), namespace, names)  # noqa: S102 - the text is that of our own core
        return property(names[self.function]) if is_property else names[self.function]


MATCHING = Setting(matches=True)
MATCHING_NONE_YET = Setting(is_empty=True, matches=True)
PROBED = Setting(has_dead_letters=False, probes=True)

MUTANTS = (
    Mutant(
        "a resume keeps the attempts of the probe that is under way",
        LaneEvents,
        "forget_tries",
        was="probe.tries = probe.tries.anew()",
        becomes="pass",
        known=RESUMED_DURING_A_PROBE,
    ),
    Mutant(
        "a pause forgets how often an event was tried",
        Lane,
        "_halt",
        was="self.waits.end()",
        becomes="self.waits.end(); self.events.shelved = None",
        known=PAUSED_IN_A_LONG_WAIT,
    ),
    Mutant(
        "the window releases offsets before the row is durable",
        Lane,
        "_write_row",
        was="row.add_done_callback(self._row_landed)",
        becomes="row.add_done_callback(self._row_landed); self.events.held.release()",
        casts=("l", "b"),
        only=(Arrive, Answer, Commit, Checkpoint),
    ),
    Mutant(
        "at-most-once sends before its claim is durable",
        Claims,
        "_claim_from",
        was="await self._rows.write(self._key)",
        becomes="self._rows.write(self._key)",
    ),
    Mutant(
        "a lane goes live one offset too early",
        Lane,
        "join_stream",
        was="self.read_from >=",
        becomes="self.read_from + 1 >=",
    ),
    Mutant(
        "a lane that goes live skips an offset",
        LaneEvents,
        "end_reading",
        was="self.next(self.in_log.read_from)",
        becomes="self.next(self.in_log.read_from) + 1",
        casts=("l",),
        only=(Arrive, Answer, Rows, Fetch, Checkpoint),
    ),
    Mutant(
        "the log reader hands over events that were not dispatched yet",
        Partition,
        "feed",
        was="start, end = wanted.start, min(end, self.dispatched_to)",
        becomes="start = wanted.start",
        known=LOG_AHEAD_OF_STREAM,
    ),
    Mutant(
        "a lane that begins to read during a read gets a stretch without its events",
        Partition,
        "feed",
        was=" and lane.key in keys",
        becomes="",
        known=WANTED_WHILE_READ,
    ),
    Mutant(
        "the result of a request from before a replay settles the event",
        LaneEvents,
        "_forget_flights",
        was="self.epoch += 1",
        becomes="pass",
        kind="commands",
        casts=("l",),
        only=(Arrive, Answer, Rows, Replay),
    ),
    Mutant(
        "the cursor of a row goes back",
        LaneEvents,
        "next",
        was="max(unsettled, self.progress.floor)",
        becomes="unsettled",
        casts=("l",),
        only=(Arrive, Answer, Rows, Checkpoint, Crash),
    ),
    Mutant(
        "an event is settled before its dead letter is confirmed",
        Delivery,
        "dead_letter",
        was="await self.dead_letters.put(letter)",
        becomes="pass",
        casts=("l", "b", "lu"),
        only=(Arrive, Answer, Commit),
    ),
    Mutant(
        "a clean stop writes no rows",
        LaneRows,
        "write_last",
        was="if self._needs_row(lane, committable)",
        becomes="if False",
        kind="stops",
    ),
    Mutant(
        "a former owner is not fenced",
        MemoryRows,
        "is_fenced",
        was="self.topic.owner is not self",
        becomes="False",
        casts=("l",),
        only=(Arrive, Answer, Rows, TakeOver),
    ),
    Mutant(
        "a row is deleted before the offset is committed",
        LaneRows,
        "_is_superfluous",
        was="committed >= row.next",
        becomes="True",
        known=ROW_DELETED_UNDER_A_HELD_PREFIX,
    ),
    Mutant(
        "the window commits past an unsettled event",
        Window,
        "committable",
        was="self._unsettled[0]",
        becomes="self._unsettled[0] + 1",
    ),
    Mutant(
        "an event of an unknown subscription is given up at once",
        MemoryRegistry,
        "caught_up",
        was="self.position < len(self.changes)",
        becomes="False",
        known=CREATED_UNHEARD,
    ),
    Mutant("a failed event is not kept", Lane, "_halt", was="if kept is not None", becomes="if False"),
    Mutant(
        "an event that returns to the log is not read again",
        InLog,
        "returned",
        was="min(self.read_from, event.offset)",
        becomes="self.read_from",
        casts=("l",),
        only=(Arrive, Answer, Rows, Pass),
    ),
    Mutant(
        "an event in flight is read again",
        LaneEvents,
        "feed",
        was=" or event.offset in self.in_flight",
        becomes="",
        known=RESUMED_WITH_OTHERS_IN_FLIGHT,
    ),
    Mutant(
        "a replay is carried out once more after a restart",
        Reconciler,
        "reconcile",
        was="command.revision > progress.revision and not",
        becomes="not",
        kind="commands",
        casts=("l",),
    ),
    Mutant(
        "a command is lost if the next revision is read before it is carried out",
        Reconciler,
        "reconcile",
        was="for command in subscription.commands:",
        becomes="for command in subscription.commands[len(subscription.earlier) :]:",
        kind="commands",
        casts=("l",),
        only=(Arrive, Answer, Rows, Replay, Command, Hear, Fetch, Stream, Pass),
    ),
    Mutant(
        "a pause is ignored after a wait",
        Lane,
        "may_go_on",
        was="if self.state.is_halted:",
        becomes="if False:",
        kind="commands",
        casts=("l",),
        only=(Arrive, Answer, Command, Pass),
    ),
    Mutant(
        "a claim that a stop cancels is not handed back",
        Claims,
        "_claim_from",
        was="self.hand_back(flight)",
        becomes="pass",
        kind="stops",
        casts=("a",),
        only=(Arrive, Rows, Pass, Stop),
    ),
    Mutant(
        "a clean stop does not hand back claims of queued events",
        Partition,
        "drain",
        was="lane.claims.hand_back_ahead()",
        becomes="pass",
        kind="stops",
        casts=("a",),
        only=(Arrive, Rows, Answer, Pass, Stop),
        setting=Setting(claim_events=3),
    ),
    Mutant(
        "a lane that leaves the stream keeps claims of queued events",
        Lane,
        "_leave_stream",
        was="self.claims.hand_back_ahead()",
        becomes="pass",
        kind="stops",
        casts=("a",),
        setting=Setting(claim_events=3),
    ),
    Mutant(
        "a row claims more events than a crash may lose",
        Claims,
        "_claim_from",
        was="self._count - 1",
        becomes="self._count + 1",
        casts=("a",),
        only=(Arrive, Rows, TakeOver),
    ),
    Mutant(
        "a former owner sends",
        Lease,
        "check",
        was="if self.now() >= self._until:",
        becomes="if False:",
        casts=("l",),
        only=(Arrive, TakeOver),
    ),
    Mutant(
        "a former owner writes dead letters",
        Runner,
        "_dead_letter",
        was="if not await self._awaits_lease(flight):",
        becomes="if False:",
        casts=("u", "lu"),
        only=(Arrive, Answer, TakeOver),
        setting=Setting(has_dead_letters=True),
    ),
    Mutant(
        "a clean stop does not hand back the claim of an event that waits for the lease",
        Claims,
        "hand_back",
        was="self._step_back([flight.offset, *self.ahead()])",
        becomes="self._events.progress.claimed_to = 0",
        kind="stops",
        casts=("a",),
        only=(Arrive, Rows, Stop, Lapse),
    ),
    Mutant(
        "a skip also skips an event that is being claimed",
        LaneEvents,
        "skip",
        was="max(self.in_log.read_from, offset + 1)",
        becomes="max([self.in_log.read_from, *(o + 1 for o in self.in_flight)])",
        known=SKIP_DURING_A_CLAIM,
    ),
    Mutant(
        "a replay to right after a claimed event forgets that event",
        LaneEvents,
        "move",
        was="if flight.claimed and flight.offset < offset",
        becomes="if False",
        known=REPLAYED_TO_BEHIND_A_CLAIM,
    ),
    Mutant(
        "a replay to right after events of one claim skips those that wait",
        Commands,
        "_go_back_to",
        was="here, where = lane.first_waiting, self._partition.name",
        becomes="here, where = lane.next, self._partition.name",
        known=REPLAYED_TO_BEHIND_CLAIMS,
    ),
    Mutant(
        "a note belongs to an earlier offset than the one that it is committed with",
        Window,
        "_follow_head",
        was="self._ahead >>= passed",
        becomes="pass",
        casts=("lb",),
        only=(Arrive, Answer, Commit),
    ),
    Mutant(
        "an event that is not settled is noted as settled",
        Partition,
        "let_go",
        was="self.window.let_go(offset)",
        becomes="self.window.settle(offset)",
        casts=("l", "lb"),
        only=(Arrive, Answer, Commit, Rows),
    ),
    Mutant(
        "a note applies although its subscription was replayed",
        Lane,
        "trusts_notes",
        was="self.events.progress.row is None and not self.awaits_command",
        becomes="True",
        kind="commands",
        known=REPLAYED_OVER_A_NOTE,
    ),
    Mutant(
        "a note applies before a replay is carried out",
        Lane,
        "trusts_notes",
        was="self.events.progress.row is None and not self.awaits_command",
        becomes="self.events.progress.row is None",
        kind="commands",
        known=REPLAY_BY_TIME_OVER_A_NOTE,
    ),
    Mutant(
        "the row of a replay is deleted before the committed offset is past the former owner's note",
        Partition,
        "checkpoint",
        was="self.committed >= self.window.noted_to",
        becomes="True",
        kind="commands",
        known=CRASH_AFTER_A_REPLAY_OVER_A_NOTE,
    ),
    # ----------------------------------------------------------- events for several subscriptions
    Mutant(
        "an offset leaves the window when the first of its lanes releases it",
        SharedWindow,
        "let_go",
        was="if held > 1:",
        becomes="if held == 0:",
        casts=("lb*.",),
        setting=MATCHING,
    ),
    Mutant(
        "an offset is noted while another lane holds it",
        SharedWindow,
        "mark_settled",
        was="if offset not in self._holders:",
        becomes="if True:",
        casts=("la*.", "labAL*."),
        setting=MATCHING,
    ),
    Mutant(
        "a subscription that no former owner had read begins at the committed offset",
        Opening,
        "restore",
        was="subscription.created >= self._log.begun_to",
        becomes="False",
        kind="commands",
        casts=("lb*.", "la*."),
        setting=MATCHING_NONE_YET,
    ),
    Mutant(
        "a subscription begins live although the stream has passed its start",
        Reconciler,
        "begin",
        was="is_behind = first < self._passed_to(subscription)",
        becomes="is_behind = False",
        kind="commands",
        casts=("lb*.", "la*."),
        setting=MATCHING_NONE_YET,
    ),
    Mutant(
        "a subscription that had begun begins again",
        Opening,
        "restore",
        was="subscription.created >= self._log.begun_to",
        becomes="True",
        casts=("la*.", "ab*."),
        setting=MATCHING,
    ),
    Mutant(
        "events from before a subscription are delivered",
        Reconciler,
        "new_lane",
        was="lane.begin(max(start, self._partition.beginnings.first_offset(subscription, start)))",
        becomes="pass",
        kind="commands",
        casts=("lb*.", "la*."),
        setting=MATCHING_NONE_YET,
    ),
    Mutant(
        "a commit says that a subscription has begun whose row is not durable",
        Beginnings,
        "begun_to",
        was="min([read_to, *self._behind.values()])",
        becomes="read_to",
        kind="commands",
        casts=("lb*.", "la*."),
        setting=MATCHING_NONE_YET,
    ),
    Mutant(
        "the row of a subscription that began behind is deleted before a commit records the beginning",
        LaneRows,
        "_is_superfluous",
        was="or not has_begun",
        becomes="",
        known=BEGUN_BEHIND_A_COMMIT,
    ),
    Mutant(
        "the row of a deleted subscription applies to a new one with the same id",
        Opening,
        "_restore_lane",
        was="is_of_former(row, subscription)",
        becomes="False",
        kind="commands",
        casts=("l*.", "lb*."),
        setting=MATCHING,
    ),
    Mutant(
        "a probe that is due is forgotten",
        Lane,
        "_await_probe",
        was="self.waits.set_timer(",
        becomes="bool(",
        setting=PROBED,
    ),
    Mutant(
        "a probe is more than one event",
        Lane,
        "feed",
        was="[:1]",
        becomes="[:2]",
        known=PROBED_WITH_OTHERS_WAITING,
    ),
    Mutant(
        "a probe reads on before its event has been answered",
        LaneView,
        "wants_to_read",
        was=" and not (self.events.queue or self.events.in_flight)",
        becomes="",
        known=PROBED_WITH_OTHERS_WAITING,
    ),
    Mutant(
        "a probe that has ended still counts for its host",
        Lane,
        "_enter",
        was="self._services.probes.leave(self)",
        becomes="pass",
        known=PROBED_IN_VAIN,
    ),
    Mutant(
        "all subscriptions of a host are probed at once",
        ProbeGate,
        "enter",
        was="self._taken[host] >= PROBES_PER_HOST",
        becomes="False",
        known=PROBED_TOGETHER,
    ),
    Mutant(
        "a lane stays in FAILURE after a successful probe",
        Lane,
        "recover",
        was='self._enter(LaneState.BEHIND, by="probe")',
        becomes="self._enter(LaneState.FAILED, self.cause)",
        setting=PROBED,
    ),
    Mutant(
        "a command about one topic is carried out in all",
        Commands,
        "_is_here",
        was="names(target, self._worker.topic,",
        becomes="names(target, target.topic or self._worker.topic,",
        known=SKIPPED_IN_ONE_TOPIC,
    ),
    Mutant(
        "freeing memory forgets events of the other topic",
        Dispatcher,
        "_relieve",
        was="lane.go_behind()",
        becomes="lane.go_behind() if lane in [*self.partitions()[0].lanes.values()] else lane.abandon()",
        setting=Setting(matches=True, has_neighbour=True),
        casts=MATCHING_CASTS,
    ),
)
