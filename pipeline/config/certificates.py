"""Certificates from PEM, PKCS#12 (RFC 7292) and JKS, turned into plain PEM."""

import base64
import binascii
from collections.abc import Iterable
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from pipeline.config.jks import read_jks
from pipeline.config.key_cost import check_cost
from pipeline.core.errors import ConfigurationError

UNREADABLE: Final = (ValueError, x509.InvalidVersion, UnsupportedAlgorithm)
"""What certificates and stores are met with that can't be read."""


def trusted_from_pem(text: str, path: str) -> str:
    """The certificates of a PEM trust store.

    Raises:
        ConfigurationError: it holds none, or one that can't be read; *path* names the field.
    """
    return to_pem(certificates_from_pem(text, path))


def trusted_from_pkcs12(data: bytes, password: str | None, path: str) -> str:
    """All certificates of a PKCS#12 trust store, as PEM.

    Raises:
        ConfigurationError: as for `trusted_from_pem`, or the password is wrong.
    """
    store = open_pkcs12(data, password, path)
    entries = [store.cert, *store.additional_certs]
    certificates = [entry.certificate for entry in entries if entry is not None]
    if not certificates:
        raise ConfigurationError(f"{path}: holds no certificate")
    return to_pem(certificates)


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
    return to_pem(certificates_from_der(certificates, path))


def is_pkcs12(data: bytes) -> bool:
    """Whether a store looks like PKCS#12: it is one DER sequence, which JKS is not."""
    return data[:1] == b"\x30"


def from_base64(text: str, path: str) -> bytes:
    """The bytes of a binary store that is given as base64 text.

    Raises:
        ConfigurationError: it is not base64.
    """
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigurationError(f"{path}: is not base64") from None


def certificates_from_der(certificates: Iterable[bytes], path: str) -> list[x509.Certificate]:
    """Certificates of a store; raises as `certificates_from_pem`."""
    try:
        return [x509.load_der_x509_certificate(certificate) for certificate in certificates]
    except UNREADABLE:
        raise ConfigurationError(f"{path}: holds a certificate that can't be read") from None


def certificates_from_pem(text: str, path: str) -> list[x509.Certificate]:
    """Certificates of a text, in its order.

    Raises:
        ConfigurationError: it holds none, or one that can't be read; *path* names the field.
    """
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except UNREADABLE:
        raise ConfigurationError(f"{path}: holds no readable PEM certificate") from None


def open_pkcs12(data: bytes, password: str | None, path: str) -> pkcs12.PKCS12KeyAndCertificates:
    """A store, as far as the library knows it: the first of its keys, and all certificates.

    Raises:
        ConfigurationError: it can't be read, takes too much work to open, or the password is wrong; *path* names the
            field.
    """
    check_cost(data, path)
    try:
        return pkcs12.load_pkcs12(data, password.encode() if password else None)
    except Exception:  # noqa: BLE001  # as for keys: ciphers that it doesn't know are no ValueError
        raise ConfigurationError(f"{path}: is not a PKCS12 store, or its password is wrong") from None


def to_pem(certificates: Iterable[x509.Certificate]) -> str:
    """One text."""
    return "".join(certificate.public_bytes(serialization.Encoding.PEM).decode() for certificate in certificates)
