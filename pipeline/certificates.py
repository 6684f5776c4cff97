"""Certificates and keys from PEM and PKCS#12 (RFC 7292), checked and turned into plain PEM."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from pipeline.errors import ConfigurationError
from pipeline.sentences import shown

_PEM = serialization.Encoding.PEM


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate chain, leaf first, and its private key, unencrypted."""

    certificate_pem: str
    key_pem: str = field(repr=False)


def trusted_from_pem(text: str, path: str) -> str:
    """The certificates of a PEM trust store.

    Raises:
        ConfigurationError: it holds none, or one that can't be read; *path* names the field.
    """
    return _pem(_certificates(text, path))


def trusted_from_pkcs12(data: bytes, password: str | None, path: str) -> str:
    """All certificates of a PKCS#12 trust store, as PEM.

    Raises:
        ConfigurationError: as for `trusted_from_pem`, or the password is wrong.
    """
    store = _pkcs12(data, password, path)
    entries = [store.cert, *store.additional_certs]
    certificates = [entry.certificate for entry in entries if entry is not None]
    if not certificates:
        raise ConfigurationError(f"{path}: holds no certificate")
    return _pem(certificates)


def client_from_pem(
    certificate: str, key: str, key_password: str | None, certificate_path: str, key_path: str
) -> ClientCertificate:
    """A PEM certificate chain and its PEM key, which may be encrypted.

    Raises:
        ConfigurationError: one of them can't be read, or they don't belong together.
    """
    chain = _certificates(certificate, certificate_path)
    try:
        private_key = serialization.load_pem_private_key(key.encode(), key_password.encode() if key_password else None)
    except TypeError:
        reason = "is encrypted and needs a keyPassword" if not key_password else "is not encrypted; remove keyPassword"
        raise ConfigurationError(f"{key_path}: {reason}") from None
    except (ValueError, UnicodeEncodeError):
        raise ConfigurationError(f"{key_path}: is not a PEM private key, or the keyPassword is wrong") from None
    except Exception:  # noqa: BLE001  # OpenSSL raises its own kinds for curves and ciphers that it doesn't know
        raise ConfigurationError(f"{key_path}: holds a kind of key that is not supported") from None
    return _client(chain, private_key, key_path)


def client_from_pkcs12(data: bytes, password: str | None, path: str, alias: str | None = None) -> ClientCertificate:
    """The key and the certificate chain of a PKCS#12 key store.

    Args:
        data: the store.
        password: of the store and of the key in it.
        path: the field, for errors.
        alias: the name that the key must have; Java compares it without regard to case.

    Raises:
        ConfigurationError: it can't be read, the password is wrong, a part is missing, or the alias is another one.
    """
    store = _pkcs12(data, password, path)
    if store.key is None or store.cert is None:
        raise ConfigurationError(f"{path}: holds no private key with its certificate")
    found = (store.cert.friendly_name or b"").decode("utf-8", "replace")
    if alias and alias.lower() != found.lower():
        raise ConfigurationError(f"{path}: holds a key with the alias {shown(found)}, not {shown(alias)}")
    chain = [store.cert.certificate, *(entry.certificate for entry in store.additional_certs)]
    return _client(chain, store.key, path)


def from_base64(text: str, path: str) -> bytes:
    """The bytes of a binary store that is given as base64 text.

    Raises:
        ConfigurationError: it is not base64.
    """
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigurationError(f"{path}: is not base64") from None


def _client(chain: Sequence[x509.Certificate], key: object, path: str) -> ClientCertificate:
    public = getattr(key, "public_key", None)
    if public is None or _public_bytes(public()) != _public_bytes(chain[0].public_key()):
        raise ConfigurationError(f"{path}: the private key does not belong to the certificate")
    pem = key.private_bytes(  # type: ignore[attr-defined]  # every key kind has it; they share no base class
        _PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return ClientCertificate(_pem(chain), pem.decode())


def _public_bytes(key: object) -> bytes:
    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]  # as above
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def _certificates(text: str, path: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except ValueError:
        raise ConfigurationError(f"{path}: holds no readable PEM certificate") from None


def _pkcs12(data: bytes, password: str | None, path: str) -> pkcs12.PKCS12KeyAndCertificates:
    try:
        return pkcs12.load_pkcs12(data, password.encode() if password else None)
    except ValueError:
        raise ConfigurationError(f"{path}: is not a PKCS12 store, or its password is wrong") from None


def _pem(certificates: Sequence[x509.Certificate]) -> str:
    return "".join(certificate.public_bytes(_PEM).decode() for certificate in certificates)
