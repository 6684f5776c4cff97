"""Reads Java key stores of type JKS: trusted certificates, and private keys with their chains. Pure.

    magic FEEDFEED, version 1 or 2, number of entries
    entry: tag (1 private key, 2 trusted certificate), alias, time, key and chain or certificate
    SHA-1 over the password, "Mighty Aphrodite" and everything before

Java's `sun.security.provider.JavaKeyStore` defines the format, and `KeyProtector` the encryption of keys, a stream of
SHA-1 digests. Checksum and encryption are weak, but here stores are only read. No length in a store is trusted.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pipeline.config.keystores.der import OCTET_STRING, SEQUENCE, elements
from pipeline.core.errors import ConfigurationError

MAX_ENTRIES: Final = 10_000

_MAGIC: Final = 0xFEEDFEED
_JCEKS_MAGIC: Final = 0xCECECECE
_WHITENER: Final = b"Mighty Aphrodite"
_DIGEST_BYTES: Final = 20
_PRIVATE_KEY: Final = 1
_TRUSTED_CERTIFICATE: Final = 2
# 1.3.6.1.4.1.42.2.17.1.1, Sun's key protector, as in an EncryptedPrivateKeyInfo (RFC 5208 section 6).
_KEY_PROTECTOR: Final = bytes.fromhex("060a2b060104012a02110101")


@dataclass(frozen=True, slots=True)
class ProtectedKey:
    """A private key entry.

    Attributes:
        protected: the encrypted key; `unprotect` decrypts it.
        chain: the certificates in DER, leaf first.
    """

    protected: bytes = field(repr=False)
    chain: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class JavaKeyStore:
    """The entries of a store, in its order, by alias. Aliases are in lower case, because Java ignores case."""

    keys: Mapping[str, ProtectedKey]
    certificates: Mapping[str, bytes]


def read_jks(data: bytes, password: str, path: str) -> JavaKeyStore:
    """The entries of a JKS store.

    Args:
        data: the store.
        password: the password of the store.
        path: the path of the field, for errors.

    Raises:
        ConfigurationError: *data* is not a JKS store or is damaged, or the password is wrong.
    """
    reader = _Reader(data, path)
    magic = reader.number(4)
    if magic == _JCEKS_MAGIC:
        raise ConfigurationError(f"{path}: is a store of type JCEKS; allowed: JKS, PKCS12, PEM")
    version = reader.number(4)
    if magic != _MAGIC or version not in {1, 2}:
        raise ConfigurationError(f"{path}: is not a JKS store")
    body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    expected = hashlib.sha1(_utf16(password) + _WHITENER + body, usedforsecurity=False).digest()
    if not hmac.compare_digest(expected, digest):
        raise ConfigurationError(f"{path}: is damaged, or its password is wrong")
    return _entries(_Reader(body, path, reader.position), version, path)


def _entries(reader: "_Reader", version: int, path: str) -> JavaKeyStore:
    keys: dict[str, ProtectedKey] = {}
    certificates: dict[str, bytes] = {}
    count = reader.number(4)
    if count > MAX_ENTRIES:
        raise ConfigurationError(f"{path}: contains {count} entries; allowed: {MAX_ENTRIES}")
    for _ in range(count):
        tag = reader.number(4)
        alias = reader.text().lower()
        reader.number(8)
        if tag == _PRIVATE_KEY:
            protected = reader.block()
            length = reader.number(4)
            if length > MAX_ENTRIES:
                raise ConfigurationError(f"{path}: contains a chain of {length} certificates; allowed: {MAX_ENTRIES}")
            keys[alias] = ProtectedKey(protected, tuple(reader.certificate(version) for _ in range(length)))
        elif tag == _TRUSTED_CERTIFICATE:
            certificates[alias] = reader.certificate(version)
        else:
            raise ConfigurationError(f"{path}: contains an entry of the unknown type {tag}")
    return JavaKeyStore(keys, certificates)


def unprotect(key: ProtectedKey, password: str, path: str) -> bytes:
    """Decrypt a private key. Returns PKCS#8 in DER.

    Args:
        key: a key that `read_jks` returned.
        password: the password of the key.
        path: the path of the field, for errors.

    Raises:
        ConfigurationError: the password is wrong, or the key is encrypted in another way.
    """
    protected = _protected_octets(key.protected)
    if protected is None or len(protected) < 2 * _DIGEST_BYTES:
        raise ConfigurationError(f"{path}: contains a key that is not encrypted as JKS keys are")
    secret = _utf16(password)
    salt, sealed, check = protected[:_DIGEST_BYTES], protected[_DIGEST_BYTES:-_DIGEST_BYTES], protected[-_DIGEST_BYTES:]
    stream, block = bytearray(), salt
    while len(stream) < len(sealed):
        block = hashlib.sha1(secret + block, usedforsecurity=False).digest()
        stream += block
    plain = bytes(left ^ right for left, right in zip(sealed, stream, strict=False))
    if not hmac.compare_digest(hashlib.sha1(secret + plain, usedforsecurity=False).digest(), check):
        raise ConfigurationError(f"{path}: the password of the key is wrong")
    return plain


def _protected_octets(data: bytes) -> bytes | None:
    """The octets of an EncryptedPrivateKeyInfo: SEQUENCE { SEQUENCE { algorithm, NULL }, OCTET STRING }."""
    try:
        [info] = elements(data)
        algorithm, octets = info.holding(SEQUENCE)
        protector, *_ = algorithm.holding(SEQUENCE)
    except ValueError:
        return None
    is_known = protector.encoded == _KEY_PROTECTOR and octets.tag == OCTET_STRING
    return octets.content if is_known else None


def _utf16(password: str) -> bytes:
    return password.encode("utf-16-be", "surrogatepass")


class _Reader:
    """Reads big-endian numbers and blocks. Reading past the end of the data raises an error."""

    def __init__(self, data: bytes, path: str, position: int = 0) -> None:
        self._data = data
        self._path = path
        self.position = position

    def take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self._data):
            raise ConfigurationError(f"{self._path}: is not a JKS store, or is cut off")
        taken = self._data[self.position : end]
        self.position = end
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def block(self) -> bytes:
        return self.take(self.number(4))

    def text(self) -> str:
        # Modified UTF-8 differs from UTF-8 only in characters that no alias contains.
        return self.take(self.number(2)).decode("utf-8", "replace")

    def certificate(self, version: int) -> bytes:
        if version > 1:
            kind = self.text()
            if kind != "X.509":
                raise ConfigurationError(f"{self._path}: contains a certificate that is not X.509")
        return self.block()
