"""A dict of bounded size. Pure.

Uses an `OrderedDict`, which knows its first key. To find its first key, a plain dict would have to skip the places of
deleted keys. This takes 5 us with 10,000 keys, and 23 us with 100,000.
"""

from collections import OrderedDict
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Bounded(OrderedDict[Key, Value]):
    """A dict of at most *most* keys: a new key replaces the oldest one. Only `[key] = value` enforces the bound.

    A key that is set again keeps its age.
    """

    __slots__ = ("_most",)

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: Key, value: Value) -> None:
        if len(self) >= self._most and key not in self:
            self.popitem(last=False)
        super().__setitem__(key, value)
