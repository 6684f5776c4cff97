"""Derives keys for single purposes from the keys in SECRET_KEYS. Pure.

The same key must not be used both to encrypt and to sign. HKDF (RFC 5869) derives one key per purpose from each secret
key, and no derived key reveals anything about another.
"""

import base64
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES: Final = 32


def derive_key(secret_key: str, purpose: str) -> bytes:
    """32 bytes for *purpose*.

    Args:
        secret_key: a Fernet key, 32 bytes in URL-safe base64.
        purpose: names the use; keys of different purposes have nothing in common.

    Raises:
        ValueError: *secret_key* is not a Fernet key.
    """
    key = base64.urlsafe_b64decode(secret_key)
    if len(key) != KEY_BYTES:
        raise ValueError("not a Fernet key: 32 bytes in URL-safe base64")
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=f"webhook-pipeline {purpose}".encode()).derive(key)
