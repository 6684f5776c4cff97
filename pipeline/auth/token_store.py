"""Access tokens as encrypted rows that survive a restart. Independent of Kafka.

    key    partition (4 bytes, big-endian) + fingerprint of the credentials (32 bytes)
    value  box(JSON of the token, with the fingerprint again), bound to that key

The binding protects against an attacker who can write to the topic, but has no encryption key: a copied row can't give
one subscription the token of another. (In rows of earlier versions, the fingerprint in the value does this.)
"""

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from pipeline.auth.access_token import AccessToken

logger = logging.getLogger(__name__)

PARTITION_BYTES: Final = 4

UNDATED_SECONDS: Final = 30 * 86400.0
"""How long the row of a token without a known expiry is kept. (In memory, it is kept as long as it is used.)"""


class Box(Protocol):
    """Authenticated encryption (`subscriptions.secrets.SecretBox`)."""

    def encrypt(self, data: bytes, context: bytes) -> bytes:
        """*data*, encrypted and bound to *context*."""

    def decrypt(self, data: bytes, context: bytes) -> bytes:
        """The data that was encrypted.

        Raises:
            Exception: no key fits, or the context differs. The implementation chooses the class.
        """


class TokenRows(Protocol):
    """The storage of the rows (`runtime.token_table.TokenTable`)."""

    def row(self, key: bytes) -> bytes | None:
        """The row's value; None if there is no row, or this worker does not own its partition."""

    def row_keys(self) -> Sequence[bytes]:
        """The keys of all existing rows."""

    async def write(self, key: bytes, value: bytes | None) -> None:
        """Write the row, or delete it if *value* is None; return when that is durable.

        Raises:
            BrokerError: the row could not be made durable.
        """


@dataclass(frozen=True, slots=True)
class StoredTokens:
    """A `token_cache.TokenStore` over rows of bytes."""

    rows: TokenRows
    box: Box

    def load(self, partition: int, fingerprint: bytes) -> AccessToken | None:
        """The token in the row of this partition and fingerprint; None if there is no readable row."""
        key = row_key(partition, fingerprint)
        value = self.rows.row(key)
        return None if value is None else self._read(key, value)

    async def save(self, partition: int, fingerprint: bytes, token: AccessToken) -> None:
        """Write the row and return when it is durable.

        Raises:
            BrokerError: the row could not be made durable.
        """
        key = row_key(partition, fingerprint)
        await self.rows.write(key, self.box.encrypt(encode(fingerprint, token), _context(key)))

    async def sweep(self, now: float) -> int:
        """Delete the rows of tokens that have expired at *now*, Unix seconds; return how many.

        Unreadable rows are kept: a worker with the wrong keys must not delete rows that other workers can read.

        Raises:
            BrokerError: not all of them could be deleted.
        """
        deleted = 0
        for key in self.rows.row_keys():
            await asyncio.sleep(0)  # a decryption takes about 50 us, and there may be thousands of rows
            value = self.rows.row(key)
            token = None if value is None else self._read(key, value)
            if token is not None and now >= _useless_at(token):
                await self.rows.write(key, None)
                deleted += 1
        return deleted

    def _read(self, key: bytes, value: bytes) -> AccessToken | None:
        try:
            return decode(key[PARTITION_BYTES:], self.box.decrypt(value, _context(key)))
        except Exception as error:  # noqa: BLE001 - the box may raise anything; the token is then fetched again
            logger.info("a token row of partition %d can't be read: %s", partition_of(key), type(error).__name__)
            return None


def _context(key: bytes) -> bytes:
    """The encryption context of a row."""
    return b"token\0" + key


def row_key(partition: int, fingerprint: bytes) -> bytes:
    """The key of the row of these credentials in this partition."""
    return partition.to_bytes(PARTITION_BYTES, "big") + fingerprint


def partition_of(key: bytes) -> int:
    """The partition of a row."""
    return int.from_bytes(key[:PARTITION_BYTES], "big")


def encode(fingerprint: bytes, token: AccessToken) -> bytes:
    """The row's value before encryption."""
    return json.dumps(
        {
            "fingerprint": fingerprint.hex(),
            "value": token.value,
            "obtained_at": token.obtained_at,
            "expires_at": token.expires_at,
        }
    ).encode()


def decode(fingerprint: bytes, data: bytes) -> AccessToken:
    """The token of a decrypted row.

    Raises:
        ValueError, KeyError, TypeError: *data* is not a token row, or was written for other credentials.
    """
    row = json.loads(data)
    if row["fingerprint"] != fingerprint.hex():
        raise ValueError("the row was written for other credentials")
    expires_at = row["expires_at"]
    return AccessToken(
        value=str(row["value"]),
        obtained_at=float(row["obtained_at"]),
        expires_at=None if expires_at is None else float(expires_at),
    )


def _useless_at(token: AccessToken) -> float:
    return token.obtained_at + UNDATED_SECONDS if token.expires_at is None else token.expires_at
