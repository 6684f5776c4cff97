"""The actions of a simulation. Each action is a value, so that a failing schedule can be printed and run again."""

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
    """Append events for these subscriptions to the log, one letter each; '.' is a gap in the log."""

    keys: str


@dataclass(frozen=True, slots=True)
class Arrive:
    """Append events as `Produce` does, and dispatch all events that were not dispatched yet, in one batch."""

    keys: str


@dataclass(frozen=True, slots=True)
class Stream:
    """Dispatch a batch of at most *events* events. If there is no worker, start one first."""

    events: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer one of the waiting requests, by its number in their order, or all of them."""

    number: int | Literal["all"]
    outcome: str


@dataclass(frozen=True, slots=True)
class Rows:
    """Make the first *count* waiting rows durable. "landed": the worker gets the confirmation; "stored": it gets
    none."""

    how: Literal["landed", "stored"]
    count: int


@dataclass(frozen=True, slots=True)
class Commit:
    """The worker commits its offset. The request may be lost ("lost"), or the broker's answer ("unheard")."""

    how: Literal["done", "lost", "unheard"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Run one checkpoint of the dispatcher; with *sweep*, remove idle lanes too."""

    sweep: bool = False


@dataclass(frozen=True, slots=True)
class Fetch:
    """The log reader reads *records* records; with *feeds*, it passes them to the lanes at once."""

    records: int
    feeds: bool = True


@dataclass(frozen=True, slots=True)
class Feed:
    """Pass the records that were read first, and were not passed yet, to the lanes."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Confirm or refuse the first waiting dead letter."""

    is_taken: bool


@dataclass(frozen=True, slots=True)
class Pass:
    """Let time pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Crash:
    """Kill the worker. Of the waiting rows, the first *rows_stored* had reached the broker."""

    rows_stored: int = 0


@dataclass(frozen=True, slots=True)
class Stop:
    """Begin a clean stop of the worker."""


@dataclass(frozen=True, slots=True)
class TakeOver:
    """The worker's lease ends. Another worker gets the partition, and the old one is not informed."""


@dataclass(frozen=True, slots=True)
class Lapse:
    """The group confirms no heartbeat of the worker for a session timeout, but does not assign its partition to
    another.
    """


@dataclass(frozen=True, slots=True)
class Confirm:
    """The group confirms a heartbeat of the worker."""


@dataclass(frozen=True, slots=True)
class Command:
    """Change a subscription. Workers read the change at once, unless it is *late*.

    "restore" resumes it with a record of a backup, which repeats no commands.
    """

    subscription: str
    wish: Literal["pause", "stop", "resume", "restore", "skip", "delete", "create"]
    late: bool = False


@dataclass(frozen=True, slots=True)
class Replay:
    """Replay from *back* offsets before the end of the log; if *back* is negative, from after the end.

    The replay moves forward only if it *discards* waiting events.
    """

    subscription: str
    back: int
    by_time: bool = False
    late: bool = False
    discards: bool = False


@dataclass(frozen=True, slots=True)
class Edit:
    """Change the QoS of a subscription."""

    subscription: str
    qos: Qos
    late: bool = False


@dataclass(frozen=True, slots=True)
class Hear:
    """Let workers read all late changes of subscriptions."""


@dataclass(frozen=True, slots=True)
class Retain:
    """Retention deletes the oldest *records* records."""

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
    """An action, and how many event loop turns follow it. With few turns, the next action comes between two awaits."""

    action: Action
    turns: int = 20


SUBSCRIPTIONS = "labn"
"""Four subscriptions: `l` (at-least-once), `a` (at-most-once), `b` (auto), `n` (none). The key `u` belongs to no
subscription.
"""

CASTS = ("l", "a", "b", "n", "la", "lb", "ln", "ab", "an", "lu", "lab", "labnu")
"""The keys of the events in a schedule. Most casts have few keys, so that much happens to each subscription."""

MATCHING_CASTS = ("l*.", "la*.", "lb*.", "ab*.", "ln*.", "labAL*.", "lbBNu.*", "labnLABN*u.")
"""The casts with `routing: match`. A capital is an event for all subscriptions except one, an asterisk for all."""

Kind = Literal["stops", "crashes", "commands"]
"""What happens besides deliveries: clean stops; with "crashes" or "commands", crashes; with "commands", commands."""

ALWAYS = 4
"""The number of sources that take part in every schedule, counted from the first one."""

_LATE = (False, False, False, True)
_TURNS = (20, 20, 20, 0, 1, 2, 3, 5)
_NUMBER: tuple[int | Literal["all"], ...] = (0, 1, 2, "all")
_TROUBLE = tuple(sorted(OUTCOMES))


@dataclass(frozen=True, slots=True)
class Keys:
    """A field whose values are texts of up to eight letters of this alphabet."""

    alphabet: str


class Source:
    """A kind of action, and the possible values of each of its fields."""

    def __init__(self, kind: type[Action], *fields: Sequence[Any] | Keys) -> None:
        self.kind = kind
        self._fields = fields

    def strategy(self) -> st.SearchStrategy[Action]:
        """The actions as a strategy of Hypothesis, which can shrink a failing schedule."""
        return st.builds(self.kind, *map(_strategy, self._fields))

    def chosen(self, random: Random) -> Action:
        """An action drawn by *random*: fifty times as fast as Hypothesis, and always the same for a seed."""
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
    """The strategies for schedules of this kind with the keys of this cast.

    They are cached, because making them takes longer than drawing.
    """
    return [source.strategy() for source in _sources(kind, cast)]


@st.composite
def _of_cast(draw: st.DrawFn, kind: Kind, cast: str) -> list[Step]:
    strategies = _strategies(kind, cast)
    # Each schedule uses only about half of the actions, which makes long chains of the others more likely.
    is_in = draw(st.lists(st.booleans(), min_size=len(strategies), max_size=len(strategies)))
    actions = [actions for index, actions in enumerate(strategies) if index < ALWAYS or is_in[index]]
    steps = st.builds(Step, st.one_of(actions), st.sampled_from(_TURNS))
    # Whatever the maximum, Hypothesis draws lists of five elements on average. Six lists shrink as well as one.
    return [step for _ in range(6) for step in draw(st.lists(steps, max_size=20))]


def schedules(kind: Kind, casts: Sequence[str] = CASTS) -> st.SearchStrategy[list[Step]]:
    """Schedules of about thirty steps."""
    return st.one_of([_of_cast(kind, cast) for cast in casts])


def random_schedule(random: Random, kind: Kind, casts: Sequence[str], only: tuple[type, ...]) -> list[Step]:
    """A schedule of at most fifty steps; if *only* is not empty, of only these kinds of actions."""
    sources = _sources(kind, random.choice(casts))
    if only:
        sources = [source for source in sources if source.kind in only]
    else:
        sources = [source for index, source in enumerate(sources) if index < ALWAYS or random.random() < 0.5]
    return [Step(random.choice(sources).chosen(random), random.choice(_TURNS)) for _ in range(random.randint(10, 50))]
