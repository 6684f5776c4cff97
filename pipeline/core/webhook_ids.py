"""The `webhook-id` of an event, and the only subscription of an addressed event. Pure.

The id is `<topic>-<partition>-<offset>`. A redrive writes an event to another offset, and keeps its first id in the
record header `dlq.webhook-id`. With `routing: match`, an event that was written for one subscription names this
subscription in `dlq.for`, because a redrive must not repeat the event to others.

Any producer can write these headers. So they count only with a valid seal in the header `dlq.seal`, which can be made
only with one of SECRET_KEYS. The seal covers the headers, the key and the value. A seal that is copied to another event
is not valid.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from pipeline.core.derived_keys import derive_key
from pipeline.core.model import DEAD_LETTER_PREFIX, Event

FIRST_ID: Final = f"{DEAD_LETTER_PREFIX}webhook-id"
"""The record header with the first id of an event."""

ADDRESSEE: Final = f"{DEAD_LETTER_PREFIX}for"
"""The record header with the id of the only subscription that an event is for, with `routing: match`."""

SEAL: Final = f"{DEAD_LETTER_PREFIX}seal"
"""The record header that proves that the pipeline wrote the other two headers: a version and an HMAC-SHA256 in base64.

Version `v1,`, in dead letters, covers `FIRST_ID`. Version `v2,` also covers `ADDRESSEE`; `FIRST_ID` may be missing.
"""

_V1: Final = b"v1,"
_V2: Final = b"v2,"
_PURPOSE: Final = "seal of a webhook-id, v1"


def own_id(event: Event) -> str:
    """`<topic>-<partition>-<offset>` of *event*, without regard to its headers."""
    return f"{event.topic}-{event.partition}-{event.offset}"


def addressee_of(event: Event) -> bytes | None:
    """The id of the only subscription that *event* names, even without a valid seal; None if *event* names none."""
    for name, value in event.headers:
        if name == ADDRESSEE:
            return value or b""  # Kafka knows null values
    return None


@dataclass(frozen=True, slots=True)
class WebhookIds:
    """Determines the id of events, and seals the events that the pipeline writes to the source topic.

    Attributes:
        keys: the first key seals, all keys verify. Without keys, first ids and addressees are ignored.
    """

    keys: tuple[bytes, ...] = field(default=(), repr=False)

    @classmethod
    def from_secret_keys(cls, secret_keys: Iterable[str]) -> "WebhookIds":
        """Derive the keys from those of SECRET_KEYS.

        Raises:
            ValueError: one of the keys is not a Fernet key.
        """
        return cls(tuple(derive_key(key, _PURPOSE) for key in secret_keys))

    def of(self, event: Event) -> str:
        """The id of *event*, the same for every attempt and after every redrive."""
        return (self.first_of(event) if event.headers else None) or own_id(event)

    def first_of(self, event: Event) -> str | None:
        """The id that *event* was first sent with, if the seal is valid."""
        first = _first(event, FIRST_ID)
        if first and first.isascii() and self._is_proved(event, first, addressee_of(event)):
            return first.decode("ascii")
        return None

    def is_for(self, event: Event, addressee: bytes) -> bool:
        """Whether the seal of *event* proves that the pipeline wrote it for this subscription."""
        is_covered = (_first(event, SEAL) or b"").startswith(_V2)
        return is_covered and self._is_proved(event, _first(event, FIRST_ID) or b"", addressee)

    def seal(self, event: Event, webhook_id: str) -> bytes | None:
        """The value of `SEAL` for *webhook_id* in a record with the key and value of *event*; None without keys."""
        return _seal(self.keys[0], event, webhook_id.encode("ascii")) if self.keys else None

    def address(self, event: Event, addressee: str) -> list[tuple[str, bytes]]:
        """The headers that address a record with the key and value of *event* to one subscription; keeps the first id.

        Raises:
            IndexError: there are no keys.
        """
        first, to = (self.first_of(event) or "").encode(), addressee.encode()
        known = [(FIRST_ID, first)] if first else []
        return [*known, (ADDRESSEE, to), (SEAL, _seal(self.keys[0], event, first, to))]

    def _is_proved(self, event: Event, first: bytes, addressee: bytes | None) -> bool:
        seal = _first(event, SEAL) or b""
        covered = addressee if seal.startswith(_V2) else None
        return any(hmac.compare_digest(seal, _seal(key, event, first, covered)) for key in self.keys)


def _first(event: Event, name: str) -> bytes | None:
    return next((value for key, value in event.headers if key == name), None)


def _seal(key: bytes, event: Event, webhook_id: bytes, addressee: bytes | None = None) -> bytes:
    # Each part is preceded by its length, so different lists of parts never give the same bytes.
    parts = [webhook_id, event.key or b"", hashlib.sha256(event.value or b"").digest()]
    parts += [] if addressee is None else [addressee]
    content = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    version = _V1 if addressee is None else _V2
    return version + base64.b64encode(hmac.digest(key, content, hashlib.sha256))
