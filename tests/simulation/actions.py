"""What can happen in a simulation. Each action is a value, so that a failing schedule reads as what it was."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hypothesis import strategies as st

from pipeline.core.outcome import (
    Delivered,
    Failed,
    NotPermitted,
    Outcome,
    Rejected,
    ServerError,
    TokenRefused,
    TokenUnavailable,
)
from pipeline.core.subscription import Qos

OUTCOMES: dict[str, Outcome] = {
    "ok": Delivered(200),
    "bad-request": Rejected(400),
    "busy": Rejected(429, retry_after_seconds=7.0),
    "overloaded": ServerError(503),
    "gone": Rejected(410),
    "unauthorized": Rejected(401, token_used=True),
    "server-error": ServerError(500),
    "timeout": Failed("no answer in time", may_have_arrived=True, timed_out=True),
    "refused": Failed("connection refused", may_have_arrived=False),
    "not-permitted": NotPermitted("another origin"),
    "no-token": TokenUnavailable("no answer"),
    "token-refused": TokenRefused("invalid_client"),
}


@dataclass(frozen=True, slots=True)
class Produce:
    """Events for these subscriptions, one letter each; '.' is a gap in the log."""

    keys: str


@dataclass(frozen=True, slots=True)
class Arrive:
    """Events as of `Produce`, and the stream hands out all that there is, in one batch."""

    keys: str


@dataclass(frozen=True, slots=True)
class Stream:
    """The stream hands out a batch of at most so many events; starts a worker if there is none."""

    events: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The request with this number among those that wait is answered, or all of them."""

    number: int | Literal["all"]
    outcome: str


@dataclass(frozen=True, slots=True)
class Rows:
    """The first so many rows that wait are confirmed, or stored without the worker hearing of it."""

    how: Literal["landed", "stored"]
    count: int


@dataclass(frozen=True, slots=True)
class Commit:
    """The commit tick; its request may be lost, or its answer."""

    how: Literal["done", "lost", "unheard"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One round of the dispatcher's checkpoint; with *sweep*, idle lanes are forgotten."""

    sweep: bool = False


@dataclass(frozen=True, slots=True)
class Fetch:
    """The backlog reads so many records, and hands them to the lanes at once if *feeds*."""

    records: int
    feeds: bool = True


@dataclass(frozen=True, slots=True)
class Feed:
    """What was read longest ago is handed to the lanes."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The first dead letter that waits is confirmed or refused."""

    is_taken: bool


@dataclass(frozen=True, slots=True)
class Pass:
    """Time passes."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Crash:
    """The worker is killed; the first so many rows that wait had reached the broker."""

    rows_stored: int = 0


@dataclass(frozen=True, slots=True)
class Stop:
    """The worker begins a clean stop."""


@dataclass(frozen=True, slots=True)
class TakeOver:
    """The worker's lease ends, and another one gets the partition while this one still believes to own it."""


@dataclass(frozen=True, slots=True)
class Lapse:
    """The group has confirmed no heartbeat of the worker for a session timeout, and gives its partition to nobody."""


@dataclass(frozen=True, slots=True)
class Confirm:
    """It confirms one."""


@dataclass(frozen=True, slots=True)
class Command:
    """Somebody changes a subscription; workers hear of it at once unless *late*."""

    subscription: str
    wish: Literal["pause", "stop", "resume", "skip", "delete", "create"]
    late: bool = False


@dataclass(frozen=True, slots=True)
class Replay:
    """Somebody replays from the offset that lies *back* before the end of the log (or after it, below zero).

    Forward only if it *discards* what waits.
    """

    subscription: str
    back: int
    by_time: bool = False
    late: bool = False
    discards: bool = False


@dataclass(frozen=True, slots=True)
class Edit:
    """Somebody changes the QoS."""

    subscription: str
    qos: Qos
    late: bool = False


@dataclass(frozen=True, slots=True)
class Hear:
    """Workers read what has been said about subscriptions."""


@dataclass(frozen=True, slots=True)
class Retain:
    """Retention deletes so many of the oldest records."""

    records: int


Action = (
    Produce
    | Arrive
    | Stream
    | Answer
    | Rows
    | Commit
    | Checkpoint
    | Fetch
    | Feed
    | DeadLetter
    | Pass
    | Crash
    | Stop
    | TakeOver
    | Lapse
    | Confirm
    | Command
    | Replay
    | Edit
    | Hear
    | Retain
)


@dataclass(frozen=True, slots=True)
class Step:
    """An action, and how many turns of the event loop follow it: few, and the next one comes between two awaits."""

    action: Action
    turns: int = 20


SUBSCRIPTIONS = "labn"
"""Four subscriptions: l at-Least-once, a At-most-once, b auto ("Both"), n None; u is nobody's."""

CASTS = ("l", "a", "b", "n", "la", "lb", "ln", "ab", "an", "lu", "lab", "labnu")
"""Who takes part in a schedule: few, mostly, so that much happens to each."""

Kind = Literal["stops", "crashes", "commands"]
"""What may happen besides work: clean stops; also crashes and takeovers; also commands."""

ALWAYS = 4
"""The first so many sources have a part in every schedule."""

_late = st.sampled_from([False, False, False, True])
_turns = st.sampled_from([20, 20, 20, 0, 1, 2, 3, 5])
_number: st.SearchStrategy[int | Literal["all"]] = st.sampled_from([0, 1, 2, "all"])
_trouble = st.sampled_from(sorted(OUTCOMES))


Source = tuple[type, st.SearchStrategy[Action]]
"""A kind of action, and where its values come from."""


def _source(kind: type[Action], *fields: st.SearchStrategy[Any]) -> Source:
    return kind, st.builds(kind, *fields)


def _work(cast: str) -> list[Source]:
    keys = st.text(2 * cast + ".", min_size=1, max_size=8)
    return [
        _source(Arrive, keys),
        _source(Answer, _number, st.just("ok")),
        _source(Answer, _number, _trouble),
        _source(Rows, st.just("landed"), st.just(100)),
        _source(Rows, st.sampled_from(["landed", "landed", "stored"]), st.sampled_from([1, 2, 3, 100])),
        _source(Produce, keys),
        _source(Stream, st.integers(1, 8)),
        _source(Commit, st.sampled_from(["done", "done", "lost", "unheard"])),
        _source(Checkpoint, st.sampled_from([False, False, True])),
        _source(Fetch, st.sampled_from([1, 2, 3, 6]), st.sampled_from([True, True, False])),
        _source(Feed),
        _source(DeadLetter, st.sampled_from([True, True, False])),
        _source(Pass, st.sampled_from([0.6, 1.1, 2.2, 5.1, 8.2, 12.5, 40.5])),
        _source(Stop),
        _source(Lapse),
        _source(Confirm),
    ]


def _ends() -> list[Source]:
    return [_source(Crash, st.sampled_from([0, 0, 1, 100])), _source(TakeOver)]


def _commands(cast: str) -> list[Source]:
    names = st.sampled_from([name for name in cast if name in SUBSCRIPTIONS])
    return [
        _source(Command, names, st.sampled_from(["pause", "stop", "resume", "skip"]), _late),
        _source(Command, names, st.just("resume"), _late),
        _source(Replay, names, st.integers(-2, 8), st.booleans(), _late, st.sampled_from([False, False, True])),
        _source(Edit, names, st.sampled_from(list(Qos)), _late),
        _source(Command, names, st.just("delete"), _late),
        _source(Command, names, st.just("create"), _late),
        _source(Hear),
        _source(Retain, st.integers(1, 4)),
    ]


@st.composite
def _of_cast(draw: st.DrawFn, kind: Kind, cast: str, only: tuple[type, ...]) -> list[Step]:
    sources = _work(cast)
    if kind != "stops":
        sources += _ends()
    if kind == "commands":
        sources += _commands(cast)
    if only:
        actions = [actions for action, actions in sources if action in only]
    else:
        # Each schedule does without about half of what there is, and goes the deeper into what the rest leads to.
        is_in = draw(st.lists(st.booleans(), min_size=len(sources), max_size=len(sources)))
        actions = [actions for index, (_, actions) in enumerate(sources) if index < ALWAYS or is_in[index]]
    steps = st.builds(Step, st.one_of(actions), _turns)
    # A drawn list has five elements on average, whatever it may have; six of them shrink as well as one.
    return [step for _ in range(6) for step in draw(st.lists(steps, max_size=20))]


def schedules(kind: Kind, casts: Sequence[str] = CASTS, only: tuple[type, ...] = ()) -> st.SearchStrategy[list[Step]]:
    """Schedules of thirty steps or so; of *only* these kinds of actions, if there are any."""
    return st.one_of([_of_cast(kind, cast, only) for cast in casts])
