"""Slows down addresses that repeatedly send wrong tokens.

After a few failures, an address has to wait, each time twice as long, up to a minute. During the wait, its requests are
refused without a check of the token, so the answers reveal nothing. A token that was accepted before is still accepted:
behind a proxy all clients have the same address, and one client must not lock out the others.
"""

import hashlib
import ipaddress
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

FREE_FAILURES: Final = 5
LONGEST_PAUSE_SECONDS: Final = 60.0
FORGET_SECONDS: Final = 600.0
"""An address's failures are forgotten after this time without another failure."""
MOST_ADDRESSES: Final = 10_000
MOST_TOKENS: Final = 1_000


class FailureLimit:
    """Stores failures by address, and right tokens. Both tables are bounded and drop their oldest entries.

    Args:
        now: returns the seconds of a monotonic clock.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._key = secrets.token_bytes(32)

    def pause(self, address: str | None, token: str) -> int:
        """Whole seconds that *address* has to wait before *token* is checked."""
        count, at = self._failures.get(_network(address), (0, 0.0))
        pause = min(LONGEST_PAUSE_SECONDS, 2.0 ** (count - FREE_FAILURES)) if count >= FREE_FAILURES else 0.0
        left = at + pause - self._now()
        return 0 if left <= 0 or self._digest(token) in self._right else math.ceil(left)

    def failed(self, address: str | None) -> None:
        """Count a wrong token."""
        name, now = _network(address), self._now()
        count, at = self._failures.pop(name, (0, now))
        self._failures[name] = (1 if now - at > FORGET_SECONDS else min(count + 1, 64), now)
        if len(self._failures) > MOST_ADDRESSES:
            self._failures.popitem(last=False)

    def succeeded(self, token: str) -> None:
        """Store a right token."""
        digest = self._digest(token)
        self._right[digest] = None
        self._right.move_to_end(digest)
        if len(self._right) > MOST_TOKENS:
            self._right.popitem(last=False)

    def _digest(self, token: str) -> bytes:
        return hashlib.blake2b(token.encode("utf-8", "surrogateescape"), key=self._key, digest_size=16).digest()


def _network(address: str | None) -> str:
    """The address; for IPv6 its /64 network, because one client may have the whole network."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return address or ""
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    mapped = found.ipv4_mapped
    return str(mapped) if mapped is not None else str(ipaddress.ip_network((int(found), 64), strict=False))
