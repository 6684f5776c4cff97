"""Certificates and keys from PEM, PKCS#12 (RFC 7292) and JKS, checked and turned into plain PEM."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from pipeline.errors import ConfigurationError
from pipeline.jks import read_jks, unprotect
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


def trusted_from_jks(data: bytes, password: str, path: str) -> str:
    """All certificates of a JKS trust store, as PEM. One of PKCS#12 is read as well, as Java does it by either name.

    Raises:
        ConfigurationError: it can't be read, the password is wrong, or it holds no certificate.
    """
    if is_pkcs12(data):
        return trusted_from_pkcs12(data, password, path)
    certificates = list(read_jks(data, password, path).certificates.values())
    if not certificates:
        raise ConfigurationError(f"{path}: holds no trusted certificate")
    return _pem(_der_certificates(certificates, path))


def client_from_jks(
    data: bytes, password: str, path: str, *, key_password: str | None, alias: str | None
) -> ClientCertificate:
    """The key and the certificate chain of a JKS key store; of one of PKCS#12 as well, as Java does it by either name.

    Args:
        data: the store.
        password: of the store.
        path: the field, for errors.
        key_password: of the key; the store's where there is none.
        alias: of the key, without regard to case; the first key where there is none.

    Raises:
        ConfigurationError: it can't be read, a password is wrong, or there is no such key.
    """
    if is_pkcs12(data):
        return client_from_pkcs12(data, password, path, alias)
    keys = read_jks(data, password, path).keys
    name = alias.lower() if alias else next(iter(keys), "")
    key = keys.get(name)
    if key is None:
        known = ", ".join(map(shown, keys)) or "none"
        raise ConfigurationError(f"{path}: holds no key with the alias {shown(alias or '')}; its keys: {known}")
    if not key.chain:
        raise ConfigurationError(f"{path}: holds the key {shown(name)} without its certificate")
    private_key = _der_key(unprotect(key, key_password or password, path), path)
    return _client(_der_certificates(key.chain, path), private_key, path)


def is_pkcs12(data: bytes) -> bool:
    """Whether a store looks like PKCS#12: it is one DER sequence, which JKS is not."""
    return data[:1] == b"\x30"


def _der_certificates(certificates: Sequence[bytes], path: str) -> list[x509.Certificate]:
    try:
        return [x509.load_der_x509_certificate(certificate) for certificate in certificates]
    except ValueError:
        raise ConfigurationError(f"{path}: holds a certificate that can't be read") from None


def _der_key(data: bytes, path: str) -> object:
    try:
        return serialization.load_der_private_key(data, None)
    except Exception:  # noqa: BLE001  # OpenSSL raises its own kinds for curves and ciphers that it doesn't know
        raise ConfigurationError(f"{path}: holds a kind of key that is not supported") from None


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
