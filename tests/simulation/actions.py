"""What can happen in a simulation. Each action is a value, so that a failing schedule reads as what it was."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
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

MATCHING_CASTS = ("l*.", "la*.", "lb*.", "ab*.", "ln*.", "labAL*.", "lbBNu.*", "labnLABN*u.")
"""The same where events belong to several: a capital is for all but one, an asterisk for all."""

Kind = Literal["stops", "crashes", "commands"]
"""What may happen besides work: clean stops; also crashes and takeovers; also commands."""

ALWAYS = 4
"""The first so many sources have a part in every schedule."""

_LATE = (False, False, False, True)
_TURNS = (20, 20, 20, 0, 1, 2, 3, 5)
_NUMBER: tuple[int | Literal["all"], ...] = (0, 1, 2, "all")
_TROUBLE = tuple(sorted(OUTCOMES))


@dataclass(frozen=True, slots=True)
class Keys:
    """A field that takes up to eight letters of this alphabet."""

    alphabet: str


class Source:
    """A kind of action, and for each of its fields the values that it may take."""

    def __init__(self, kind: type[Action], *fields: Sequence[Any] | Keys) -> None:
        self.kind = kind
        self._fields = fields

    def strategy(self) -> st.SearchStrategy[Action]:
        """Drawn by Hypothesis, which can shrink it."""
        return st.builds(self.kind, *map(_strategy, self._fields))

    def chosen(self, random: Random) -> Action:
        """Drawn by *random*: fifty times as fast, and the same whatever else is loaded."""
        return self.kind(*(_chosen(random, field) for field in self._fields))


def _strategy(field: Sequence[Any] | Keys) -> st.SearchStrategy[Any]:
    return st.text(field.alphabet, min_size=1, max_size=8) if isinstance(field, Keys) else st.sampled_from(field)


def _chosen(random: Random, field: Sequence[Any] | Keys) -> Any:
    if isinstance(field, Keys):
        return "".join(random.choices(field.alphabet, k=random.randint(1, 8)))
    return random.choice(field)


def _work(cast: str) -> list[Source]:
    keys = Keys(cast if "*" in cast else 2 * cast + ".")
    return [
        Source(Arrive, keys),
        Source(Answer, _NUMBER, ["ok"]),
        Source(Answer, _NUMBER, _TROUBLE),
        Source(Rows, ["landed"], [100]),
        Source(Rows, ["landed", "landed", "stored"], [1, 2, 3, 100]),
        Source(Produce, keys),
        Source(Stream, range(1, 9)),
        Source(Commit, ["done", "done", "lost", "unheard"]),
        Source(Checkpoint, [False, False, True]),
        Source(Fetch, [1, 2, 3, 6], [True, True, False]),
        Source(Feed),
        Source(DeadLetter, [True, True, False]),
        Source(Pass, [0.6, 1.1, 2.2, 5.1, 8.2, 12.5, 40.5]),
        Source(Stop),
        Source(Lapse),
        Source(Confirm),
    ]


def _ends() -> list[Source]:
    return [Source(Crash, [0, 0, 1, 100]), Source(TakeOver)]


def _commands(cast: str) -> list[Source]:
    names = [name for name in SUBSCRIPTIONS if name in cast]
    return [
        Source(Command, names, ["pause", "stop", "resume", "skip"], _LATE),
        Source(Command, names, ["resume"], _LATE),
        Source(Replay, names, range(-2, 9), [False, True], _LATE, [False, False, True]),
        Source(Edit, names, list(Qos), _LATE),
        Source(Command, names, ["delete"], _LATE),
        Source(Command, names, ["create"], _LATE),
        Source(Hear),
        Source(Retain, range(1, 5)),
    ]


@functools.cache
def _sources(kind: Kind, cast: str) -> list[Source]:
    ends = [] if kind == "stops" else _ends()
    commands = _commands(cast) if kind == "commands" else []
    return [*_work(cast), *ends, *commands]


@functools.cache
def _strategies(kind: Kind, cast: str) -> list[st.SearchStrategy[Action]]:
    """Made once: to make them takes longer than to draw from them."""
    return [source.strategy() for source in _sources(kind, cast)]


@st.composite
def _of_cast(draw: st.DrawFn, kind: Kind, cast: str) -> list[Step]:
    strategies = _strategies(kind, cast)
    # Each schedule does without about half of what there is, and goes the deeper into what the rest leads to.
    is_in = draw(st.lists(st.booleans(), min_size=len(strategies), max_size=len(strategies)))
    actions = [actions for index, actions in enumerate(strategies) if index < ALWAYS or is_in[index]]
    steps = st.builds(Step, st.one_of(actions), st.sampled_from(_TURNS))
    # A drawn list has five elements on average, whatever it may have; six of them shrink as well as one.
    return [step for _ in range(6) for step in draw(st.lists(steps, max_size=20))]


def schedules(kind: Kind, casts: Sequence[str] = CASTS) -> st.SearchStrategy[list[Step]]:
    """Schedules of thirty steps or so."""
    return st.one_of([_of_cast(kind, cast) for cast in casts])


def random_schedule(random: Random, kind: Kind, casts: Sequence[str], only: tuple[type, ...]) -> list[Step]:
    """A schedule of fifty steps at most; of *only* these kinds of actions, if there are any."""
    sources = _sources(kind, random.choice(casts))
    if only:
        sources = [source for source in sources if source.kind in only]
    else:
        sources = [source for index, source in enumerate(sources) if index < ALWAYS or random.random() < 0.5]
    return [Step(random.choice(sources).chosen(random), random.choice(_TURNS)) for _ in range(random.randint(10, 50))]
