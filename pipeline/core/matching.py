"""Finds the subscriptions that an event matches, without evaluating every filter. Pure.

A tree of the comparisons in the filters, from headers and key of the record down to its body:

    topic "orders" ─┬─ type is "order.paid" ── /customer/id is "7"                 a, b
                    ├─ header.region begins with "eu-" ── type is "order.paid"   c, if its whole filter matches
                    └─ type is "order.sent"                                      d

At each node, one lookup in a hash table for each compared part of the event finds the branches that match. So the cost
depends on the number of compared parts, of subscriptions that are found, and of filters that have to be evaluated, but
not on the number of all other subscriptions. The body is parsed only if a matching branch compares it.

A filter is first split into alternatives. Each one is a path: exact comparisons and prefixes that must all match. Other
conditions (a suffix, a `not`) are not part of the path: the whole filter is evaluated at its end. If a filter
has only such conditions, its path is empty, and the filter is evaluated for every event of its topics.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final, TypeGuard

from pipeline.core.filters import (
    AllOf,
    AnyOf,
    Attribute,
    Compare,
    Dialect,
    EventFilter,
    Expression,
    ParsedEvent,
    Pointer,
    Selector,
)
from pipeline.core.model import Event
from pipeline.core.subscription import Filter, Subscription

FEW: Final = 16
"""The filters of up to this many subscriptions are evaluated one by one, without the tree."""

MOST_PATHS: Final = 100
"""The most paths of one filter, equal to the limit of comparisons. Parts that would lead to more paths are not
indexed."""

_INDEXED: Final[frozenset[Dialect]] = frozenset({"exact", "prefix"})
"""The comparisons that a hash table can look up."""

_UNINDEXED: Final = 6

Path = tuple[Expression, ...]
"""Parts of a filter that must all match."""


class SubscriptionIndex:
    """An index of all subscriptions by their filters, updated with each change.

    A key is the id of a subscription in UTF-8. Results are sorted, so the order of changes does not matter.
    """

    def __init__(self) -> None:
        self._entries: dict[bytes, _Entry] = {}
        self._roots: dict[str | None, _Node] = {}  # by topic; None for subscriptions to all topics

    def update(self, subscription_id: str, subscription: Subscription | None) -> None:
        """Update the index with the newest revision of a subscription; None if it was deleted.

        Every event matches a broken subscription, whose lanes keep events until the subscription is repaired.
        """
        key = subscription_id.encode()
        if subscription is None:
            self._remove(key)
            return
        is_sound = subscription.problem is None
        topics = subscription.topics if is_sound else None
        wanted = _expression(subscription.filter) if is_sound else None
        former = self._entries.get(key)
        if former is None or (former.topics, former.wanted) != (topics, wanted):
            self._remove(key)
            self._add(key, topics, wanted)

    def keys(self, event: Event, among: Collection[bytes] | None = None) -> Sequence[bytes]:
        """The keys of the subscriptions that *event* matches, sorted.

        Args:
            event: the event; its body is parsed at most once.
            among: consider only these keys, without duplicates; a set or a dict if they are many.
        """
        parsed = ParsedEvent(event)
        if among is not None and len(among) <= FEW:
            return tuple(sorted(key for key in among if self._wants(key, parsed)))
        found = [keys for node in self._reached(parsed) if (keys := node.keys(parsed, among))]
        if len(found) <= 1:
            return found[0] if found else ()
        # Several paths of one subscription may end here.
        return tuple(dict.fromkeys(sorted(key for keys in found for key in keys)))

    def _add(self, key: bytes, topics: frozenset[str] | None, wanted: Expression | None) -> None:
        paths = [()] if wanted is None else _paths(wanted)
        nodes: dict[_Node, None] = {}
        for topic in [None] if topics is None else topics:
            root = self._roots.setdefault(topic, _Node())
            for path in paths:
                steps = sorted(filter(_is_indexed, path), key=_rank)
                end = reduce(_Node.below, steps, root)
                end.add(key, wanted if len(steps) < len(path) else None)
                nodes[end] = None
        self._entries[key] = _Entry(topics, wanted, tuple(nodes))

    def _remove(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        for node in () if entry is None else entry.nodes:
            node.remove(key)

    def _wants(self, key: bytes, parsed: ParsedEvent) -> bool:
        entry = self._entries.get(key)
        if entry is None or (entry.topics is not None and parsed.event.topic not in entry.topics):
            return False
        return entry.wanted is None or entry.wanted.matches(parsed)

    def _reached(self, parsed: ParsedEvent) -> Iterable["_Node"]:
        """The ends of all matching paths, and the nodes above them."""
        nodes = [root for topic in (None, parsed.event.topic) if (root := self._roots.get(topic)) is not None]
        for node in nodes:  # grows during the loop
            if node.branches:
                nodes += node.matching(parsed)
        return nodes


@dataclass(frozen=True, slots=True)
class _Entry:
    """A subscription in the index: its topics (None: all), its filter (None: all events), the ends of its paths."""

    topics: frozenset[str] | None
    wanted: Expression | None
    nodes: tuple["_Node", ...]


class _Node:
    """A node of the tree: the end of a path, or a part of longer paths.

    Attributes:
        above: the parent node, and the comparison that leads from the parent to this node; None for a root.
        certain: the keys of the subscriptions that match every event that gets here.
        asked: the filters that have to be evaluated for an event that gets here, by key.
        branches: the nodes below, by selector, length of the prefix (None for an exact comparison) and text. A text
            that is shorter than the prefix matches no branch.
    """

    __slots__ = ("_sorted", "above", "asked", "branches", "certain")

    def __init__(self, above: "tuple[_Node, Compare] | None" = None) -> None:
        self.above = above
        self.certain: dict[bytes, None] = {}  # sorted except for the newest keys, so that sorting is quick
        self._sorted: tuple[bytes, ...] | None = None  # the keys in `certain`; None after a change
        self.asked: dict[bytes, Expression] = {}
        self.branches: dict[Selector, dict[int | None, dict[bytes, _Node]]] = {}

    def below(self, step: Compare) -> "_Node":
        """The child node of the comparison *step*."""
        text, length = _text_and_length(step)
        by_text = self.branches.setdefault(step.selector, {}).setdefault(length, {})
        node = by_text.get(text)
        if node is None:
            node = by_text[text] = _Node((self, step))
        return node

    def matching(self, parsed: ParsedEvent) -> "list[_Node]":
        """The child nodes whose comparison matches."""
        return [
            below
            for selector, by_length in self.branches.items()
            for text in selector.found(parsed)
            for length, by_text in by_length.items()
            if (below := by_text.get(text[:length])) is not None
        ]

    def add(self, key: bytes, asked: Expression | None) -> None:
        """Add a subscription whose path ends here. *asked* is its filter; None if it need not be evaluated."""
        if asked is None:
            self.certain[key] = None
            self.asked.pop(key, None)
            self._sorted = None
        elif key not in self.certain:
            self.asked[key] = asked

    def remove(self, key: bytes) -> None:
        """Remove a subscription, and the nodes that no other subscription needs."""
        self.asked.pop(key, None)
        self.certain.pop(key, None)
        self._sorted = None
        node = self
        while node.above is not None and not (node.certain or node.asked or node.branches):
            node, step = node.above
            node.cut(step)

    def cut(self, step: Compare) -> None:
        """Remove the child node of the comparison *step*."""
        text, length = _text_and_length(step)
        by_length = self.branches[step.selector]
        del by_length[length][text]
        if not by_length[length]:
            del by_length[length]
        if not by_length:
            del self.branches[step.selector]

    def keys(self, parsed: ParsedEvent, among: Collection[bytes] | None) -> tuple[bytes, ...]:
        """The subscriptions at this node that the event matches, sorted."""
        if among is not None:
            fewer, others = sorted((self.certain, among), key=len)
            asked = self.asking(parsed, [key for key in self.asked if key in among])
            return tuple(sorted([*asked, *(key for key in fewer if key in others)]))
        if self._sorted is None:
            self.certain = dict.fromkeys(sorted(self.certain))
            self._sorted = tuple(self.certain)
        return tuple(sorted([*self._sorted, *self.asking(parsed, self.asked)])) if self.asked else self._sorted

    def asking(self, parsed: ParsedEvent, keys: Iterable[bytes]) -> list[bytes]:
        return [key for key in keys if self.asked[key].matches(parsed)]


@dataclass(frozen=True, slots=True)
class _Opaque:
    """A filter that can't be split into comparisons."""

    filter: Filter

    def matches(self, parsed: ParsedEvent) -> bool:
        return self.filter(parsed.event)


def _expression(wanted: Filter | None) -> Expression | None:
    if isinstance(wanted, EventFilter):
        return wanted.expression
    return None if wanted is None else _Opaque(wanted)


def _is_indexed(part: Expression) -> TypeGuard[Compare]:
    return isinstance(part, Compare) and part.dialect in _INDEXED and len(part.texts) == 1


def _rank(part: Expression) -> int:
    """The rank of a part in its path. The body comes last, right after attributes, which may be in the body."""
    if not _is_indexed(part):
        return _UNINDEXED
    place = 2 if isinstance(part.selector, Pointer) else 1 if isinstance(part.selector, Attribute) else 0
    return 2 * place + (part.dialect == "prefix")


def _text_and_length(step: Compare) -> tuple[bytes, int | None]:
    [text] = step.texts
    return text, len(text) if step.dialect == "prefix" else None


def _paths(wanted: Expression) -> list[Path]:
    """The alternatives of a filter. The filter matches if and only if all parts of one alternative match."""
    match wanted:
        case Compare(dialect, selector, texts) if dialect in _INDEXED and len(texts) <= MOST_PATHS:
            return [(Compare(dialect, selector, (text,)),) for text in texts]
        case AllOf(parts):
            return _paths_of_all(parts)
        case AnyOf(parts):
            paths = [path for part in parts for path in _paths(part)]
            narrows_down = _cost(paths)[0] < _UNINDEXED
            return paths if narrows_down and len(paths) <= MOST_PATHS else [(wanted,)]
        case _:
            return [(wanted,)]


def _paths_of_all(parts: Iterable[Expression]) -> list[Path]:
    """The alternatives of a filter whose *parts* must all match: each combination of one path from every part.

    The cheapest parts come first. A part that would make too many combinations stays whole.
    """
    paths: list[Path] = [()]
    for part, alternatives in sorted(((part, _paths(part)) for part in parts), key=lambda each: _cost(each[1])):
        fits = len(paths) * len(alternatives) <= MOST_PATHS
        added = alternatives if fits else [(part,)]
        paths = [(*path, *more) for path in paths for more in added]
    return paths


def _cost(paths: Sequence[Path]) -> tuple[int, int]:
    """How much work the paths cause: the worst rank, and the number of paths."""
    return max((min(map(_rank, path), default=_UNINDEXED) for path in paths), default=0), len(paths)
