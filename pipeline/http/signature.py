"""Signatures of Standard Webhooks 1.0 (standardwebhooks.com, section "Signature scheme"). Pure."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline.core.errors import ConfigurationError

HMAC_PREFIX: Final = "whsec_"
ED25519_PREFIX: Final = "whsk_"
MIN_SECRET_BYTES: Final = 24
MAX_SECRET_BYTES: Final = 64
_SEED_BYTES: Final = 32

Sign = Callable[[bytes], str]
"""A function that returns one signature, with its version, for the signed content."""


@dataclass(frozen=True, slots=True)
class Signer:
    """The keys of one subscription, decoded once. Each key gives a signature, so keys can be rotated."""

    keys: tuple[Sign, ...] = field(repr=False)

    @classmethod
    def from_secrets(cls, secrets: Iterable[str]) -> "Signer":
        """Keys from `whsec_<base64>` (HMAC-SHA256, 24 to 64 bytes) or `whsk_<base64>` (ed25519, a 32-byte seed).

        Raises:
            ConfigurationError: a secret is neither. The error shows only its index, never its text.
        """
        return cls(tuple(_key(secret, f"signing.secrets[{number}]") for number, secret in enumerate(secrets)))

    def signature(self, webhook_id: str, timestamp: int, body: bytes) -> str:
        """The value of `webhook-signature`.

        Args:
            webhook_id: the value of `webhook-id`.
            timestamp: the value of `webhook-timestamp`, Unix seconds of this attempt.
            body: the body as it is sent.
        """
        content = b"%b.%d.%b" % (webhook_id.encode("latin-1"), timestamp, body)
        return " ".join([sign(content) for sign in self.keys])


def without_prefix(secret: str) -> str:
    """The base64 part of a Standard Webhooks secret."""
    return secret.removeprefix(ED25519_PREFIX).removeprefix(HMAC_PREFIX)


def _key(secret: str, path: str) -> Sign:
    if secret.startswith(ED25519_PREFIX):
        return _ed25519(_decoded(secret.removeprefix(ED25519_PREFIX), path), path)
    if secret.startswith(HMAC_PREFIX):
        return _hmac_sha256(_decoded(secret.removeprefix(HMAC_PREFIX), path), path)
    raise ConfigurationError(f"{path}: must begin with {HMAC_PREFIX} or {ED25519_PREFIX}")


def _decoded(text: str, path: str) -> bytes:
    try:
        # The padding is often missing.
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigurationError(f"{path}: must be base64 after its prefix") from None


def _hmac_sha256(key: bytes, path: str) -> Sign:
    if not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise ConfigurationError(
            f"{path}: its base64 decodes to {len(key)} bytes; allowed: {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES}"
        )

    def sign(content: bytes) -> str:
        return "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode("ascii")

    return sign


def _ed25519(seed: bytes, path: str) -> Sign:
    # Some tools, such as libsodium, append the public key to the seed.
    if len(seed) not in {_SEED_BYTES, 2 * _SEED_BYTES}:
        raise ConfigurationError(f"{path}: its base64 decodes to {len(seed)} bytes; allowed: 32 or 64")
    private_key = Ed25519PrivateKey.from_private_bytes(seed[:_SEED_BYTES])
    if seed[_SEED_BYTES:] not in {b"", private_key.public_key().public_bytes_raw()}:
        raise ConfigurationError(f"{path}: its public key, the second 32 bytes, does not belong to its seed")

    def sign(content: bytes) -> str:
        return "v1a," + base64.b64encode(private_key.sign(content)).decode("ascii")

    return sign
