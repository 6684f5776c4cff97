"""The state of one set of client credentials: the token, and the result of the last token request. Pure."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Final

from pipeline.auth.access_token import AccessToken
from pipeline.core.outcome import TokenRefused, TokenUnavailable
from pipeline.core.subscription import ClientAuth

NoToken = TokenRefused | TokenUnavailable
"""Why there is no token."""

COOL_DOWN_SECONDS: Final = 1.0
"""For this long after a failure, or after the renewal of a rejected token, no lane requests a token.

Without this pause, a thousand lanes could flood an endpoint that is down, or whose tokens are always rejected.
"""

_NEVER: Final = float("-inf")
_ALWAYS: Final = float("inf")


@dataclass(slots=True, eq=False)
class Grant:
    """One set of credentials and its token, shared by all lanes of the worker that have these credentials.

    Attributes:
        fingerprint: identifies the credentials in the store (access_token.fingerprint).
        token: the newest token, even if it has expired or was rejected.
        authorization: `Authorization` with that token.
        renew_at, ends_at: when to renew the token, and when to stop using it; Unix seconds.
        partitions: the partitions whose row in the store is kept up to date with the token.
        request: the request to the token endpoint that is under way.
        failure: why the last request gave no token; None if it gave a token.
        was_used: whether the token was used since the last sweep.
    """

    auth: ClientAuth
    fingerprint: bytes
    token: AccessToken | None = None
    authorization: str = field(default="", repr=False)
    renew_at: float = _NEVER
    ends_at: float = _NEVER
    partitions: set[int] = field(default_factory=set)
    request: "asyncio.Task[AccessToken | NoToken] | None" = None
    failure: NoToken | None = None
    was_used: bool = True
    _failed_at: float = _NEVER
    _replaced_at: float = _NEVER
    _is_rejected: bool = False

    def take(self, token: AccessToken, now: float) -> None:
        """Make *token* the current token."""
        if self._is_rejected:
            self._replaced_at = now
        self.token = token
        self.authorization = token.authorization
        self.renew_at = _ALWAYS if token.renew_at is None else token.renew_at
        self.ends_at = _ALWAYS if token.expires_at is None else token.expires_at
        self.failure = None
        self._is_rejected = False

    def reject(self, authorization: str) -> None:
        """Record that a callback rejected *authorization*. If its token is still in use, it will be renewed."""
        if authorization == self.authorization:
            self._is_rejected = True
            self.renew_at = self.ends_at = _NEVER

    def fail(self, failure: NoToken, now: float) -> None:
        """Record that the token endpoint gave no token."""
        self.failure = failure
        self._failed_at = now

    def usable(self, now: float) -> AccessToken | None:
        """The token, unless it has expired or was rejected. A rejection right after a renewal does not count."""
        token = self.token
        if token is None or not token.is_good(now):
            return None
        if self._is_rejected and not _is_recent(self._replaced_at, now):
            return None
        return token

    def recent_failure(self, now: float, longest_wait_seconds: float) -> NoToken | None:
        """The last failure, as long as no new request for a token may be made.

        Args:
            now: the current time, Unix seconds.
            longest_wait_seconds: the caller's bound for a `Retry-After`.
        """
        failure = self.failure
        if isinstance(failure, TokenUnavailable) and failure.retry_after_seconds is not None:
            passed = now - self._failed_at
            if 0.0 <= passed < min(failure.retry_after_seconds, longest_wait_seconds):
                return replace(failure, retry_after_seconds=failure.retry_after_seconds - passed)
        return failure if _is_recent(self._failed_at, now) else None

    def prefers(self, stored: AccessToken, now: float) -> bool:
        """Whether the *stored* token, perhaps of another worker, is better than the token in use."""
        if not stored.is_good(now):
            return False
        return self.token is None or (stored.value != self.token.value and stored.obtained_at > self.token.obtained_at)


def _is_recent(moment: float, now: float) -> bool:
    # If the clock was set back, no moment counts as recent.
    return 0.0 <= now - moment < COOL_DOWN_SECONDS
