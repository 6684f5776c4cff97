"""Encryption at rest that opens only where it was made for. Pure but for its random numbers.

AES-256-GCM (NIST SP 800-38D) with keys derived from those of SECRET_KEYS, and what a value belongs to as associated
data: copied to another subscription, field or row it can't be decrypted. Earlier versions wrote Fernet tokens, which
have no associated data; they are still read.
"""

import os
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pipeline.core.derived_keys import derive_key

NONCE_BYTES: Final = 12
"""Random: one key is good for 2**32 values."""

_PURPOSE: Final = "encryption for a context, v1"


class Cipher:
    """Encrypts with the first key, decrypts with each.

    Args:
        keys: Fernet keys.

    Raises:
        ValueError: one of *keys* is not a Fernet key, or there is none.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])
        self._keys = [AESGCM(derive_key(key, _PURPOSE)) for key in keys]

    def encrypt(self, data: bytes, context: bytes) -> bytes:
        """*data* as nonce, ciphertext and tag, which open with *context* alone."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._keys[0].encrypt(nonce, data, context)

    def decrypt(self, sealed: bytes, context: bytes) -> bytes:
        """The inverse of `encrypt`, with any of the keys.

        Raises:
            ValueError: none of the keys fits, *sealed* is damaged, or it was made for another context.
        """
        nonce, ciphertext = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        for key in self._keys if len(nonce) == NONCE_BYTES else ():
            try:
                return key.decrypt(nonce, ciphertext, context)
            except InvalidTag:
                continue
        raise ValueError("none of the keys decrypts it here")

    def is_newest(self, sealed: bytes, context: bytes) -> bool:
        """Whether *sealed* is of the first key, and opens with *context*."""
        nonce, ciphertext = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            self._keys[0].decrypt(nonce, ciphertext, context)
        except (InvalidTag, ValueError):
            return False
        return True

    def decrypt_fernet(self, token: bytes) -> bytes:
        """What an earlier version encrypted, wherever it stands.

        Raises:
            ValueError: none of the keys fits, or *token* is damaged.
        """
        try:
            return self._fernet.decrypt(token)
        except InvalidToken:
            raise ValueError("no key opens it") from None
