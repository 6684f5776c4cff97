"""Parses a JSON Web Key Set (RFC 7517): the public keys that verify tokens for the web view. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from pipeline.core.errors import ConfigurationError

ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""Signatures with a key pair (RFC 7518 section 3.1, RFC 8037). With shared keys, anyone who reads a worker's keys could
sign."""

LARGEST_BYTES: Final = 256 * 1024

SMALLEST_RSA_BITS: Final = 2048
"""RFC 7518 section 3.3."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """Public keys. Each has one algorithm: its `alg`, by default RS256, the ES algorithm of its curve, or EdDSA."""

    keys: tuple[jwt.PyJWK, ...] = ()

    def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The key that verifies a signature; None if there is none.

        Args:
            kid: the key id in the token (RFC 7515 section 4.1.4); None finds the only key of the algorithm.
            algorithm: the algorithm of the signature.
        """
        found = [key for key in self.keys if key.algorithm_name == algorithm and kid in {None, key.key_id}]
        return found[0] if len(found) == 1 else None


def parse_key_set(data: bytes) -> KeySet:
    """The usable keys of a JWK set. All other keys are skipped, because many sets have unusable keys.

    Raises:
        ConfigurationError: *data* is not a JWK set, no key can be used, or a key is private. The caller adds the file
            or URL as the subject of the message.
    """
    if len(data) > LARGEST_BYTES:
        raise ConfigurationError(f"is larger than {LARGEST_BYTES} bytes")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise ConfigurationError("is not a JWK set: it is not JSON") from None
    entries = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(entries, list):
        raise ConfigurationError("is not a JWK set: it has no list of keys")
    if any(isinstance(entry, Mapping) and "d" in entry for entry in entries):
        raise ConfigurationError("contains a private key; allowed: public keys only")
    keys = tuple(key for entry in entries if (key := _key(entry)) is not None)
    if not keys:
        raise ConfigurationError(f"contains no usable key; allowed: public keys for {', '.join(sorted(ALGORITHMS))}")
    return KeySet(keys)


def _key(entry: Any) -> jwt.PyJWK | None:
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or not _may_verify(entry.get("key_ops")):
        return None
    if entry.get("kty") not in {"RSA", "EC", "OKP"} or not isinstance(entry.get("kid"), str | None):
        return None
    try:
        key = jwt.PyJWK(entry)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    if key.algorithm_name not in ALGORITHMS:
        return None
    return None if isinstance(key.key, RSAPublicKey) and key.key.key_size < SMALLEST_RSA_BITS else key


def _may_verify(operations: object) -> bool:
    return operations is None or (isinstance(operations, list) and "verify" in operations)
