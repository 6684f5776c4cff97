"""Schedules that are known to be difficult, and that a random search would take too long to find."""

from dataclasses import dataclass, field

from pipeline.core.subscription import Qos, Rate
from tests.simulation.actions import (
    Action,
    Answer,
    Arrive,
    Checkpoint,
    Command,
    Commit,
    Crash,
    Edit,
    Feed,
    Fetch,
    Hear,
    Pass,
    Produce,
    Replay,
    Retain,
    Rows,
    Step,
    Stop,
    Stream,
    TakeOver,
)
from tests.simulation.worker import Setting

ALL_ROWS = Rows("landed", 100)
NEXT_OK = Answer(0, "ok")


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule with a name."""

    name: str
    actions: tuple[Action, ...]
    setting: Setting = field(default_factory=Setting)

    @property
    def steps(self) -> list[Step]:
        return [Step(action) for action in self.actions]


RESUMED_WITH_OTHERS_IN_FLIGHT = Schedule(
    "one of three in flight fails, and the lane is resumed before the others have ended",
    (
        Arrive("bbb"),
        Answer(0, "bad-request"),
        ALL_ROWS,
        Command("b", "resume"),
        Fetch(6),
        Answer(1, "ok"),
        Answer(1, "ok"),
    ),
    Setting(has_dead_letters=False),
)
PAUSED_IN_A_LONG_WAIT = Schedule(
    "a pause and a resume come while an event waits in the log for its next attempt",
    (
        Arrive("l"),
        Answer(0, "busy"),
        ALL_ROWS,
        Command("l", "pause"),
        ALL_ROWS,
        Command("l", "resume"),
        Fetch(6),
        NEXT_OK,
    ),
)
RESUMED_DURING_A_PROBE = Schedule(
    "a resume comes while the probe of a FAILURE is under way, and the probe fails",
    (
        Arrive("l"),
        Answer(0, "server-error"),
        Pass(1.2),
        Answer(0, "server-error"),
        Pass(2.2),
        Answer(0, "server-error"),
        ALL_ROWS,
        Pass(16.0),
        Fetch(6),
        Command("l", "resume"),
        Answer(0, "server-error"),
        Pass(1.2),
        NEXT_OK,
    ),
    Setting(has_dead_letters=False, probes=True),
)
ROW_DELETED_UNDER_A_HELD_PREFIX = Schedule(
    "an idle lane of at-most-once still needs its row, because another lane holds back the committed offset",
    (
        Arrive("l"),
        Commit("done"),
        Arrive("a"),
        ALL_ROWS,
        Answer(1, "ok"),
        Checkpoint(),
        ALL_ROWS,
        Crash(),
        Arrive("a"),
        ALL_ROWS,
    ),
)
WANTED_WHILE_READ = Schedule(
    "a lane begins to read the log while a stretch is read for another lane",
    (Arrive("lblblblblblblblb"), Rows("landed", 1), Fetch(16, feeds=False), ALL_ROWS, Feed()),
)
LOG_AHEAD_OF_STREAM = Schedule(
    "the log has events that were not dispatched yet when a lane catches up",
    (
        Arrive("llllll"),
        ALL_ROWS,
        Fetch(6),
        NEXT_OK,
        NEXT_OK,
        NEXT_OK,
        Fetch(2),
        NEXT_OK,
        NEXT_OK,
        Produce("ll"),
        Fetch(6),
        NEXT_OK,
        NEXT_OK,
        NEXT_OK,
    ),
)
CREATED_UNHEARD = Schedule(
    "a subscription is created, and its first event arrives before the worker has read its record",
    (Command("l", "create", late=True), Arrive("l")),
    Setting(is_empty=True),
)
SKIP_DURING_A_CLAIM = Schedule("a skip comes while an event is being claimed", (Arrive("aa"), Command("a", "skip")))
NOTED = (Arrive("lbbb"), Answer(1, "ok"), Answer(1, "ok"), Answer(1, "ok"), Commit("done"))
"""The first event is in flight, and the note of the commit contains the others."""
REPLAYED_OVER_A_NOTE = Schedule(
    "a replay goes back over events of a note, and its owner is killed when the row is durable",
    (*NOTED, Replay("b", back=2), ALL_ROWS, Crash(), Stream(8), Stream(8)),
)
REPLAY_BY_TIME_OVER_A_NOTE = Schedule(
    "only the next owner reads a replay by time that goes back over events of a note",
    (*NOTED, Replay("b", back=2, by_time=True, late=True), Crash(), Stream(8), Stream(8)),
)
CRASH_AFTER_A_REPLAY_OVER_A_NOTE = Schedule(
    "a replay of events of a note is carried out before the stream has reached them, and its owner is killed too",
    (
        *NOTED,
        Crash(),
        Stream(1),
        Stream(1),
        Replay("b", back=2),
        ALL_ROWS,
        Command("b", "restore"),
        NEXT_OK,
        Commit("done"),
        Checkpoint(),
        ALL_ROWS,
        Crash(),
        Stream(8),
        Stream(8),
    ),
)
REPLAYED_TO_BEHIND_A_CLAIM = Schedule(
    "a replay continues right after an event that is claimed and not sent yet",
    (Command("a", "create"), Arrive("a.l."), Replay("a", back=3)),
    Setting(is_empty=True, rate=Rate(0.5, 1)),
)
SKIPPED_IN_ONE_TOPIC = Schedule(
    "an event of one topic is skipped while an event of another topic waits at the same offset",
    (Command("l", "pause"), Arrive("l"), Command("l", "skip"), Pass(2.0)),
    Setting(matches=True, has_neighbour=True),
)
DISCARDED_IN_EACH_TOPIC = Schedule(
    "a replay by time discards waiting events, in another topic too",
    (Arrive("**"), Replay("l", back=1, by_time=True, discards=True)),
    Setting(matches=True, has_neighbour=True, rate=Rate(1.0, 3)),
)
REPLAYED_TO_BEHIND_CLAIMS = Schedule(
    "a replay continues right after several events that one row has claimed",
    (Arrive("aaa"), ALL_ROWS, Replay("a", back=0)),
    Setting(claim_events=3),
)
BEGUN_BEHIND_A_COMMIT = Schedule(
    "a subscription begins behind, catches up, and its owner is killed before the next commit",
    (
        Command("a", "create", late=True),
        Arrive("**"),
        Commit("done"),
        Hear(),
        ALL_ROWS,
        Fetch(6),
        *(ALL_ROWS, NEXT_OK),
        *(ALL_ROWS, NEXT_OK),
        Checkpoint(),
        ALL_ROWS,
        Crash(),
    ),
    Setting(is_empty=True, matches=True),
)


_FAILS: tuple[Action, ...] = (
    ALL_ROWS,
    Answer("all", "server-error"),
    Pass(1.1),
    Answer("all", "server-error"),
    Pass(2.2),
    Answer("all", "server-error"),
    ALL_ROWS,
)
"""All attempts of each event in flight fail."""
_PROBE: tuple[Action, ...] = (Pass(40.5), Pass(40.5), Fetch(8), ALL_ROWS)
PROBED_WITH_OTHERS_WAITING = Schedule(
    "a subscription with several events in flight fails while others wait, and it is probed",
    (Arrive("bbb"), *_FAILS, *_PROBE, Fetch(8), NEXT_OK),
    Setting(has_dead_letters=False, probes=True),
)
PROBED_TOGETHER = Schedule(
    "three subscriptions of one host fail together, and are probed",
    (Arrive("llaabb"), *_FAILS, *_PROBE),
    Setting(has_dead_letters=False, probes=True),
)
PROBED_IN_VAIN = Schedule(
    "more probes fail than may be under way at a time",
    (Arrive("ll"), *_FAILS, *[*_PROBE, Answer(0, "refused")] * 3),
    Setting(has_dead_letters=False, probes=True),
)
KNOWN = (
    BEGUN_BEHIND_A_COMMIT,
    PROBED_WITH_OTHERS_WAITING,
    PROBED_TOGETHER,
    PROBED_IN_VAIN,
    REPLAYED_TO_BEHIND_A_CLAIM,
    REPLAYED_TO_BEHIND_CLAIMS,
    REPLAYED_OVER_A_NOTE,
    REPLAY_BY_TIME_OVER_A_NOTE,
    CRASH_AFTER_A_REPLAY_OVER_A_NOTE,
    RESUMED_WITH_OTHERS_IN_FLIGHT,
    RESUMED_DURING_A_PROBE,
    PAUSED_IN_A_LONG_WAIT,
    ROW_DELETED_UNDER_A_HELD_PREFIX,
    LOG_AHEAD_OF_STREAM,
    WANTED_WHILE_READ,
    Schedule(
        "a stop cancels a claim, and its row becomes durable nevertheless",
        (Arrive("a"), Stop(), Pass(8.2), ALL_ROWS),
    ),
    SKIP_DURING_A_CLAIM,
    SKIPPED_IN_ONE_TOPIC,
    DISCARDED_IN_EACH_TOPIC,
    CREATED_UNHEARD,
    Schedule(
        "a subscription is deleted while its lane is behind, and events of its key continue to arrive",
        (*(Arrive("l") for _ in range(5)), Command("l", "delete"), *(Arrive("l") for _ in range(4))),
        Setting(has_dead_letters=False),
    ),
    Schedule(
        "a lane of QoS none drops an event and leaves the stream in the same batch",
        (*(Arrive("a") for _ in range(3)), Arrive("n"), Arrive("n"), Arrive("nnn"), Arrive("abbbn")),
        Setting(has_dead_letters=False),
    ),
    Schedule(
        "a replay by time is under way when idle lanes are removed",
        (Arrive("l"), NEXT_OK, Commit("done"), Replay("l", back=1, by_time=True), Checkpoint(sweep=True), Pass(0.6)),
    ),
    Schedule(
        "a replay by time comes before any event from that time on was dispatched",
        (Arrive("b"), TakeOver(), Replay("b", back=1, by_time=True)),
        Setting(has_dead_letters=False),
    ),
    Schedule(
        "during a stop, the row of a FAILURE lets the commit pass the queued events of QoS none",
        (Arrive("abbln"), ALL_ROWS, Stop(), NEXT_OK, NEXT_OK, Answer(1, "ok"), Answer(0, "bad-request"), ALL_ROWS),
        Setting(has_dead_letters=False),
    ),
    Schedule(
        "a subscription is deleted and created again while a row is being written",
        (Arrive("llllll"), Command("l", "delete"), Command("l", "create"), Arrive("l"), ALL_ROWS, Commit("done")),
    ),
    Schedule(
        "an opened partition has a pause to apply, and the cursor is after the committed offset",
        (Arrive("a"), ALL_ROWS, Crash(), Command("a", "pause")),
    ),
    Schedule(
        "another revision follows a replay from a time before it is carried out, and an event is sent meanwhile",
        (Arrive("a"), Arrive("lll"), Arrive("a"), Replay("a", back=1, by_time=True), Command("a", "resume")),
        Setting(has_dead_letters=False),
    ),
    Schedule(
        "one of two topics has drained, and its rows become durable before the other one has",
        (
            *(Arrive("b"), Crash(), Command("l", "pause"), Arrive("a"), Arrive("abn")),
            *(NEXT_OK, Stop(), Pass(12.5)),
        ),
        Setting(has_dead_letters=False, has_neighbour=True),
    ),
    Schedule(
        "a replay from a time comes during a stop, after an event beyond the committed offset was delivered",
        (Arrive("A"), Arrive("A"), Stop(), Replay("b", back=1, by_time=True)),
        Setting(has_dead_letters=False, matches=True),
    ),
    Schedule(
        "a paused subscription is deleted after a crash, before its replay was carried out",
        (
            *(Command("l", "pause"), Replay("l", back=-2, discards=True), ALL_ROWS, Crash()),
            Command("l", "delete"),
        ),
        Setting(has_dead_letters=False),
    ),
    Schedule(
        "an event is sent while a replay that discards looks for the end of the log",
        (
            *(Arrive("a"), Arrive("aa..."), Retain(1), TakeOver()),
            *(Replay("a", back=5, discards=True), Arrive("a"), ALL_ROWS, Crash()),
        ),
        Setting(has_dead_letters=False),
    ),
    Schedule(
        "an edit to at-most-once comes while one event is in flight and a later one waits for a retry",
        (Arrive("bb"), Answer(1, "busy"), Edit("b", Qos.AT_MOST_ONCE)),
    ),
)
