"""Reads certificates, and keys with their certificates, from PEM, PKCS#12 (RFC 7292) and JKS as plain PEM.

The library's validation of an RSA key tests whether its numbers are primes, which may take minutes. So keys are read
without this validation; subscriptions/key_check.py validates a key in another way, when it is applied.
"""

import base64
import binascii
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.dsa import DSAPrivateKey
from cryptography.hazmat.primitives.serialization import pkcs12

from pipeline.config.keystores.cost import check_cost, check_pem_cost
from pipeline.config.keystores.jks import read_jks, unprotect
from pipeline.config.keystores.pkcs12 import key_bags
from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import shown

UNREADABLE: Final = (ValueError, x509.InvalidVersion, UnsupportedAlgorithm)
"""The errors that unreadable certificates and stores raise."""

LONGEST_CHAIN: Final = 10
"""The largest number of certificates sent with a key. Even four are unusual."""


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate chain, leaf first, and its private key, unencrypted."""

    certificate_pem: str
    key_pem: str = field(repr=False)


def trusted_from_pem(text: str, path: str) -> str:
    """The certificates of a PEM trust store.

    Raises:
        ConfigurationError: *text* contains no certificate, or an unreadable one; *path* is the path of the field.
    """
    return to_pem(certificates_from_pem(text, path))


def trusted_from_pkcs12(data: bytes, password: str | None, path: str) -> str:
    """All certificates of a PKCS#12 trust store, as PEM.

    Raises:
        ConfigurationError: the store contains no certificate, or an unreadable one, or the password is wrong.
    """
    store = open_pkcs12(data, password, path)
    entries = [store.cert, *store.additional_certs]
    certificates = [entry.certificate for entry in entries if entry is not None]
    if not certificates:
        raise ConfigurationError(f"{path}: contains no certificate")
    return to_pem(certificates)


def trusted_from_jks(data: bytes, password: str, path: str) -> str:
    """All certificates of a JKS trust store, as PEM. Like Java, it also reads PKCS#12 stores.

    Raises:
        ConfigurationError: the store can't be read or contains no certificate, or the password is wrong.
    """
    if is_pkcs12(data):
        return trusted_from_pkcs12(data, password, path)
    certificates = list(read_jks(data, password, path).certificates.values())
    if not certificates:
        raise ConfigurationError(f"{path}: contains no trusted certificate")
    return to_pem(certificates_from_der(certificates, path))


def is_pkcs12(data: bytes) -> bool:
    """Whether a store looks like PKCS#12: it is one DER sequence, which JKS is not."""
    return data[:1] == b"\x30"


def from_base64(text: str, path: str) -> bytes:
    """The bytes of a binary store that is given as base64 text.

    Raises:
        ConfigurationError: *text* is not base64.
    """
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigurationError(f"{path}: is not base64") from None


def certificates_from_der(certificates: Iterable[bytes], path: str) -> list[x509.Certificate]:
    """The certificates of a store. Raises the errors of `certificates_from_pem`."""
    try:
        return [x509.load_der_x509_certificate(certificate) for certificate in certificates]
    except UNREADABLE:
        raise ConfigurationError(f"{path}: contains a certificate that can't be read") from None


def certificates_from_pem(text: str, path: str) -> list[x509.Certificate]:
    """The certificates in a text, in its order.

    Raises:
        ConfigurationError: *text* contains no certificate, or an unreadable one; *path* is the path of the field.
    """
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except UNREADABLE:
        raise ConfigurationError(f"{path}: contains no readable PEM certificate") from None


def open_pkcs12(data: bytes, password: str | None, path: str) -> pkcs12.PKCS12KeyAndCertificates:
    """Open a store with the library, which returns its first key and all certificates.

    Raises:
        ConfigurationError: the store can't be read or takes too much work to open, or the password is wrong; *path* is
            the path of the field.
    """
    check_cost(data, path)
    try:
        return pkcs12.load_pkcs12(data, password.encode() if password else None)
    except Exception:  # noqa: BLE001  # OpenSSL raises its own errors for unknown ciphers
        raise ConfigurationError(f"{path}: is not a PKCS12 store, or its password is wrong") from None


def to_pem(certificates: Iterable[x509.Certificate]) -> str:
    """The certificates as one PEM text."""
    return "".join(certificate.public_bytes(serialization.Encoding.PEM).decode() for certificate in certificates)


def client_from_pem(
    certificate: str, key: str, key_password: str | None, certificate_path: str, key_path: str
) -> ClientCertificate:
    """Read a PEM certificate chain and its PEM key, which may be encrypted.

    Raises:
        ConfigurationError: the certificate or the key can't be read, or they don't belong together.
    """
    chain = certificates_from_pem(certificate, certificate_path)
    return _client(chain, _pem_key(key, key_password, key_path, "keyPassword"), key_path)


def key_from_pem(key: str, password: str | None, path: str, unlocked_by: str) -> str:
    """A PEM key, decrypted.

    Args:
        key: the key, which may be encrypted.
        password: the password of the key.
        path: the path of the field, for errors.
        unlocked_by: the field that has the password, for errors.

    Raises:
        ConfigurationError: the key can't be read or takes too much work to open, or the password is wrong.
    """
    return _plain_pem(_pem_key(key, password, path, unlocked_by), path)


def _pem_key(key: str, password: str | None, path: str, unlocked_by: str) -> object:
    check_pem_cost(key.encode(errors="surrogatepass"), path)
    try:
        return serialization.load_pem_private_key(
            key.encode(), password.encode() if password else None, unsafe_skip_rsa_key_validation=True
        )
    except TypeError:
        reason = "is not encrypted; remove" if password else "is encrypted and needs"
        raise ConfigurationError(f"{path}: {reason} {unlocked_by}") from None
    except (ValueError, UnicodeEncodeError):
        raise ConfigurationError(f"{path}: is not a PEM private key, or the {unlocked_by} is wrong") from None
    except Exception:  # noqa: BLE001  # OpenSSL raises its own errors for unknown curves and ciphers
        raise ConfigurationError(f"{path}: contains an unsupported type of key") from None


def client_from_pkcs12(data: bytes, password: str | None, path: str, alias: str | None = None) -> ClientCertificate:
    """The key and the certificate chain of a PKCS#12 key store.

    Args:
        data: the store.
        password: the password of the store and of the key in it.
        path: the path of the field, for errors.
        alias: the alias of the key, case-insensitive; None: the first key.

    Raises:
        ConfigurationError: the store can't be read, the password is wrong, a part is missing, or there is no such key.
    """
    store = open_pkcs12(data, password, path)
    if store.key is None or store.cert is None:
        raise ConfigurationError(f"{path}: contains no private key with its certificate")
    certificates = [store.cert.certificate, *(entry.certificate for entry in store.additional_certs)]
    first = (store.cert.friendly_name or b"").decode("utf-8", "replace")
    if not alias or alias.lower() == first.lower():
        return _client(_chain(certificates[0], certificates), store.key, path)
    key = _named_key(data, password, path, alias)
    return _client(_chain(_own(key, certificates, path, alias), certificates), key, path)


def client_from_jks(
    data: bytes, password: str, path: str, *, key_password: str | None, alias: str | None
) -> ClientCertificate:
    """The key and the certificate chain of a JKS key store. Like Java, it also reads PKCS#12 stores.

    Args:
        data: the store.
        password: the password of the store.
        path: the path of the field, for errors.
        key_password: the password of the key; None: the store's password.
        alias: the alias of the key, case-insensitive; None: the first key.

    Raises:
        ConfigurationError: the store can't be read, a password is wrong, or there is no such key.
    """
    if is_pkcs12(data):
        return client_from_pkcs12(data, password, path, alias)
    keys = read_jks(data, password, path).keys
    name = alias.lower() if alias else next(iter(keys), "")
    key = keys.get(name)
    if key is None:
        raise _unknown_alias(path, alias or "", keys)
    if not key.chain:
        raise ConfigurationError(f"{path}: contains the key {shown(name)} without its certificate")
    private_key = _der_key(unprotect(key, key_password or password, path), path)
    return _client(certificates_from_der(key.chain, path), private_key, path)


def _named_key(data: bytes, password: str | None, path: str, alias: str) -> object:
    try:
        keys = key_bags(data)
    except ValueError:
        raise ConfigurationError(f"{path}: is not DER, so its keys can't be found by alias; remove the alias") from None
    for bag in keys:
        if bag.alias.lower() == alias.lower():
            return _der_key(bag.key, path, password)
    raise _unknown_alias(path, alias, (bag.alias for bag in keys))


def _own(key: object, certificates: Iterable[x509.Certificate], path: str, alias: str) -> x509.Certificate:
    for certificate in certificates:
        with suppress(*UNREADABLE):  # the certificate may belong to another key
            if _belongs(key, certificate):
                return certificate
    raise ConfigurationError(f"{path}: contains the key {shown(alias)} without its certificate")


def _unknown_alias(path: str, alias: str, known: Iterable[str]) -> ConfigurationError:
    names = ", ".join(map(shown, known)) or "none"
    return ConfigurationError(f"{path}: contains no key with the alias {shown(alias)}; its keys: {names}")


def _chain(leaf: x509.Certificate, certificates: Iterable[x509.Certificate]) -> list[x509.Certificate]:
    """*leaf* and the issuers above it (RFC 8446 section 4.4.2), as far as *certificates* contains them.

    The length is limited: in a store of a thousand certificates with the same name, every signature would be checked
    against every certificate.
    """
    chain, rest = [leaf], [certificate for certificate in certificates if certificate != leaf]
    while len(chain) < LONGEST_CHAIN:
        issuer = next((each for each in rest if _is_issued_by(chain[-1], each)), None)
        if issuer is None:
            break
        chain.append(issuer)
        rest.remove(issuer)
    return chain


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (*UNREADABLE, TypeError, InvalidSignature):
        return False
    return True


def _der_key(data: bytes, path: str, password: str | None = None) -> object:
    check_cost(data, path)
    try:
        return serialization.load_der_private_key(
            data, password.encode() if password else None, unsafe_skip_rsa_key_validation=True
        )
    except Exception:  # noqa: BLE001  # OpenSSL raises its own errors for unknown curves and ciphers
        raise ConfigurationError(f"{path}: contains an unsupported type of key") from None


def _client(chain: Sequence[x509.Certificate], key: object, path: str) -> ClientCertificate:
    try:
        belongs = _belongs(key, chain[0])
    except UNREADABLE:
        raise ConfigurationError(f"{path}: contains a certificate for an unsupported type of key") from None
    if not belongs:
        raise ConfigurationError(f"{path}: the private key does not belong to the certificate")
    return ClientCertificate(to_pem(chain), _plain_pem(key, path))


def _plain_pem(key: object, path: str) -> str:
    # Loading a DSA key computes its public key, which takes half a second with 10,000 bits. Neither TLS nor RS256 uses
    # DSA keys, so no worker should load one from the PEM.
    if isinstance(key, DSAPrivateKey):
        raise ConfigurationError(f"{path}: contains an unsupported type of key")
    pem: bytes = key.private_bytes(  # type: ignore[attr-defined]  # every key type has it; they share no base class
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem.decode()


def _belongs(key: object, certificate: x509.Certificate) -> bool:
    public = getattr(key, "public_key", None)
    return public is not None and _public_bytes(public()) == _public_bytes(certificate.public_key())


def _public_bytes(key: object) -> bytes:
    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]  # as above
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded
