"""Remembers requests that their senders may repeat, with the answers. Pure."""

import json
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

REMEMBER_SECONDS: Final = 86_400.0
MOST_BYTES: Final = 32 * 1024 * 1024
LEAST_BYTES: Final = 2048
"""The smallest size that is counted for a request. Even without an answer, a request takes memory."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that its sender may repeat.

    Attributes:
        key: a digest of its sender and Idempotency-Key.
        digest: a digest of its whole content.
        status, answer, headers: its answer: status code, body and headers.
    """

    key: str
    digest: str
    status: int = 200
    answer: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Kept:
    at: float
    sender: str
    size: int
    request: Request


class RememberedRequests:
    """The requests of the last day, as far as they fit into memory.

    If memory is full, the oldest request of the sender with the largest share is removed. So no sender can displace the
    requests of others.

    Args:
        most_bytes: the memory limit, measured as bytes of JSON.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._kept: dict[str, _Kept] = {}
        self._of: dict[str, OrderedDict[str, None]] = {}
        self._sizes: Counter[str] = Counter()
        self._size = 0

    def add(self, sender: str, at: float, request: Request) -> None:
        """Remember a request made at *at* (Unix seconds). If its key is already known, the first answer is kept."""
        if self.find(request.key, at) is not None:
            return
        self._drop(request.key)
        size = max(LEAST_BYTES, len(json.dumps([request.answer, request.headers], default=dict)))
        self._kept[request.key] = _Kept(at, sender, size, request)
        self._of.setdefault(sender, OrderedDict())[request.key] = None
        self._sizes[sender] += size
        self._size += size
        while self._size > self._most_bytes:
            largest = max(self._sizes, key=self._sizes.__getitem__)
            self._drop(next(iter(self._of[largest])))

    def find(self, key: str, now: float) -> Request | None:
        """The request with this key; None if it is unknown or older than a day."""
        kept = self._kept.get(key)
        return None if kept is None or now - kept.at > REMEMBER_SECONDS else kept.request

    def _drop(self, key: str) -> None:
        kept = self._kept.pop(key, None)
        if kept is None:
            return
        self._size -= kept.size
        self._sizes[kept.sender] -= kept.size
        del self._of[kept.sender][key]
        if not self._of[kept.sender]:
            del self._of[kept.sender], self._sizes[kept.sender]
