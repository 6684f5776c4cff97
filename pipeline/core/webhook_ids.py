"""The `webhook-id` of an event: one rule for what is sent, signed, logged and dead-lettered. Pure.

It is `<topic>-<partition>-<offset>`. A redrive writes an event to another offset, where it keeps its first id in the
record header `dlq.webhook-id`. Anybody who can produce can write that header, so it counts only with a seal beside it,
`dlq.seal`, which takes one of SECRET_KEYS to make. The seal covers the id, the key and the value: copied to an event of
another subscription or with another body, it proves nothing.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from pipeline.core.derived_keys import derive_key
from pipeline.core.model import Event
from pipeline.core.record_headers import DEAD_LETTER_PREFIX

FIRST_ID: Final = f"{DEAD_LETTER_PREFIX}webhook-id"
"""The record header with the id that an event was first sent with."""

SEAL: Final = f"{DEAD_LETTER_PREFIX}seal"
"""The record header that proves who wrote `FIRST_ID`: `v1,` and an HMAC-SHA256 in base64."""

_VERSION: Final = b"v1,"
_PURPOSE: Final = "seal of a webhook-id, v1"


def own_id(event: Event) -> str:
    """`<topic>-<partition>-<offset>`: where *event* is, whatever its headers say."""
    return f"{event.topic}-{event.partition}-{event.offset}"


@dataclass(frozen=True, slots=True)
class WebhookIds:
    """Says which id an event has, and seals one for a redrive.

    Attributes:
        keys: the first seals, each of them proves. Without keys no first id counts.
    """

    keys: tuple[bytes, ...] = field(default=(), repr=False)

    @classmethod
    def from_secret_keys(cls, secret_keys: Iterable[str]) -> "WebhookIds":
        """With keys derived from those of SECRET_KEYS.

        Raises:
            ValueError: one of them is not a Fernet key.
        """
        return cls(tuple(derive_key(key, _PURPOSE) for key in secret_keys))

    def of(self, event: Event) -> str:
        """The id of *event*, the same for every attempt; after a redrive the one it was first sent with."""
        first = _first(event, FIRST_ID) if event.headers else None
        if first and self._is_proved(event, first, _first(event, SEAL) or b""):
            return first.decode("ascii")
        return own_id(event)

    def seal(self, event: Event, webhook_id: str) -> bytes | None:
        """The value of `SEAL` beside *webhook_id* on a record with key and value of *event*; None without keys."""
        return _seal(self.keys[0], event, webhook_id.encode("ascii")) if self.keys else None

    def _is_proved(self, event: Event, first: bytes, seal: bytes) -> bool:
        if not seal.startswith(_VERSION) or not first.isascii():
            return False
        return any(hmac.compare_digest(seal, _seal(key, event, first)) for key in self.keys)


def _first(event: Event, name: str) -> bytes | None:
    return next((value for key, value in event.headers if key == name), None)


def _seal(key: bytes, event: Event, webhook_id: bytes) -> bytes:
    # Each part with its length in front: no two triples run together to the same bytes.
    parts = (webhook_id, event.key or b"", hashlib.sha256(event.value or b"").digest())
    content = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return _VERSION + base64.b64encode(hmac.digest(key, content, hashlib.sha256))
