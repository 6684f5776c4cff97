"""Caches the keys for signed tokens. Reads them outside the event loop, and again when necessary."""

import asyncio
import logging
import math
import time
from typing import Final

import jwt

from pipeline.core.errors import ConfigurationError
from pipeline.observability.instruments import Monotonic
from pipeline.web.jwks import KeySet
from pipeline.web.key_source import ReadKeys

logger = logging.getLogger(__name__)

PAUSE_SECONDS: Final = 30.0
"""The shortest time between two reads, so that tokens with unknown keys can't cause many requests."""
MAX_AGE_SECONDS: Final = 600.0
"""After this time the set is read again, so that a withdrawn key soon stops working."""


class KeyRing:
    """The newest key set that could be read.

    Args:
        read: reads the set.
        keys: the keys that were read at start-up, if any.
        monotonic: the clock for the age of the keys.
    """

    def __init__(self, read: ReadKeys, keys: KeySet | None = None, monotonic: Monotonic = time.monotonic) -> None:
        self._read = read
        self._monotonic = monotonic
        self._keys = keys
        self._read_at = -math.inf if keys is None else monotonic()
        self._problem: str | None = None
        self._reading = asyncio.Lock()

    @property
    def problem(self) -> str | None:
        """Why the last read failed; None if it succeeded."""
        return self._problem

    async def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The key that verifies a signature. Reads the set again if the key is unknown or the set is too old.

        Returns None for an unknown key. While there is a `problem`, an unknown key may nevertheless be in the JWK set.
        """
        if self._keys is None or self._monotonic() - self._read_at >= MAX_AGE_SECONDS:
            await self._refresh()
        key = self._find(kid, algorithm)
        if key is None and await self._refresh():
            key = self._find(kid, algorithm)
        return key

    def _find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        return None if self._keys is None else self._keys.find(kid, algorithm)

    async def _refresh(self) -> bool:
        """Read the set, if the last read was not just now.

        Returns whether it was read. Concurrent callers share a read.
        """
        before = self._read_at
        async with self._reading:
            if self._read_at == before and self._monotonic() - self._read_at >= PAUSE_SECONDS:
                await self._try_to_read()
        return self._read_at != before

    async def _try_to_read(self) -> None:
        asked_at = self._monotonic()
        try:
            self._keys = await self._read()
        except ConfigurationError as error:
            self._problem = str(error)
            logger.warning(
                "%s; %s", error, "the previous keys remain valid" if self._keys else "no token can be verified"
            )
        else:
            self._problem = None
        # This is set after the read: if the read is cancelled, the next caller tries again.
        self._read_at = asked_at
