"""The keys that sign admin tokens, as they are now: read off the event loop, kept, and read again when need be."""

import asyncio
import logging
import math
from typing import Final

import jwt

from pipeline.core.clock import Clock
from pipeline.core.errors import ConfigurationError
from pipeline.web.jwks import KeySet
from pipeline.web.key_source import ReadKeys

logger = logging.getLogger(__name__)

PAUSE_SECONDS: Final = 30.0
"""Between two readings: tokens with keys that nobody knows must not become a flood of requests."""
MAX_AGE_SECONDS: Final = 600.0
"""After so long the set is read again, so that a key that was withdrawn is soon of no use."""


class KeyRing:
    """The newest set that could be read.

    Args:
        read: reads the set.
        clock: for the pauses.
        keys: what was read at start; None where nothing was.
    """

    def __init__(self, read: ReadKeys, clock: Clock, keys: KeySet | None = None) -> None:
        self._read = read
        self._clock = clock
        self._keys = keys
        self._read_at = -math.inf if keys is None else clock.now()
        self._problem: str | None = None
        self._reading = asyncio.Lock()

    @property
    def problem(self) -> str | None:
        """Why the last reading failed; None if it did not."""
        return self._problem

    async def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The key of a signature (`KeySet.find`). An unknown one, and the age of the set, are reasons to read again.

        None while `problem` is set says nothing of the key.
        """
        if self._keys is None or self._clock.now() - self._read_at >= MAX_AGE_SECONDS:
            await self._refresh()
        key = self._find(kid, algorithm)
        if key is None and await self._refresh():
            key = self._find(kid, algorithm)
        return key

    def _find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        return None if self._keys is None else self._keys.find(kid, algorithm)

    async def _refresh(self) -> bool:
        """Read the set, unless that was tried a moment ago; who comes meanwhile waits. Whether somebody has read it."""
        before = self._read_at
        async with self._reading:
            if self._read_at == before and self._clock.now() - self._read_at >= PAUSE_SECONDS:
                await self._try_to_read()
        return self._read_at != before

    async def _try_to_read(self) -> None:
        asked_at = self._clock.now()
        try:
            self._keys = await self._read()
        except ConfigurationError as error:
            self._problem = str(error)
            logger.warning(
                "%s; %s", error, "the previous keys remain valid" if self._keys else "no token can be verified"
            )
        else:
            self._problem = None
        # Whoever is cancelled above has not asked: the next one does.
        self._read_at = asked_at
