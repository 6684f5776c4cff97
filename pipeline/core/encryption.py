"""Encryption at rest. A ciphertext is bound to the place where it is stored. Pure except for random numbers.

AES-256-GCM (NIST SP 800-38D) with keys derived from SECRET_KEYS. The associated data names the place, so a ciphertext
that is copied to another subscription, field or row can't be decrypted. Earlier versions wrote Fernet tokens, which
have no associated data but can still be decrypted.
"""

import os
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pipeline.core.derived_keys import derive_key

NONCE_BYTES: Final = 12
"""Nonces are random, so a key may encrypt at most 2**32 values."""

_PURPOSE: Final = "encryption for a context, v1"


class Cipher:
    """Encrypts with the first key, decrypts with any of the keys.

    Args:
        keys: Fernet keys.

    Raises:
        ValueError: a key is not a Fernet key, or there are no keys.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])
        self._keys = [AESGCM(derive_key(key, _PURPOSE)) for key in keys]

    def encrypt(self, data: bytes, context: bytes) -> bytes:
        """*data* as nonce, ciphertext and tag. It can be decrypted only with the same *context*."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._keys[0].encrypt(nonce, data, context)

    def decrypt(self, encrypted: bytes, context: bytes) -> bytes:
        """The inverse of `encrypt`, with any of the keys.

        Raises:
            ValueError: none of the keys fits, *encrypted* is damaged, or it was made for another context.
        """
        nonce, ciphertext = encrypted[:NONCE_BYTES], encrypted[NONCE_BYTES:]
        for key in self._keys if len(nonce) == NONCE_BYTES else ():
            try:
                return key.decrypt(nonce, ciphertext, context)
            except InvalidTag:
                continue
        raise ValueError("it can't be decrypted with any of the keys and this context")

    def is_newest(self, encrypted: bytes, context: bytes) -> bool:
        """Whether *encrypted* was encrypted with the first key, for *context*."""
        nonce, ciphertext = encrypted[:NONCE_BYTES], encrypted[NONCE_BYTES:]
        try:
            self._keys[0].decrypt(nonce, ciphertext, context)
        except (InvalidTag, ValueError):
            return False
        return True

    def decrypt_fernet(self, token: bytes) -> bytes:
        """The data in a token of an earlier version, which is not bound to a context.

        Raises:
            ValueError: none of the keys fits, or *token* is damaged.
        """
        try:
            return self._fernet.decrypt(token)
        except InvalidToken:
            raise ValueError("it can't be decrypted with any of the keys") from None
