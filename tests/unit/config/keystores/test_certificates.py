"""Certificates that can't be read are errors of their field, whatever error the library raises."""

import ssl

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa

from pipeline.config.keystores.certificates import client_from_pem, key_from_pem, trusted_from_pem
from pipeline.core.errors import ConfigurationError

F = "trustStore.content"
VERSION_3 = b"\xa0\x03\x02\x01\x02"
EC_KEY = bytes.fromhex("06072a8648ce3d0201")  # RFC 5480 section 2.1.1


@pytest.fixture(scope="module")
def leaf() -> trustme.LeafCert:
    return trustme.CA().issue_cert("client.example")


def changed(leaf: trustme.LeafCert, old: bytes, new: bytes) -> str:
    der = ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())
    assert old in der
    return ssl.DER_cert_to_PEM_cert(der.replace(old, new))


def test_a_certificate_of_an_unknown_version_is_refused(leaf: trustme.LeafCert) -> None:
    with pytest.raises(ConfigurationError, match=f"^{F}: contains no readable PEM certificate$"):
        trusted_from_pem(changed(leaf, VERSION_3, VERSION_3[:-1] + b"\x09"), F)


def test_a_certificate_for_an_unknown_kind_of_key_is_refused(leaf: trustme.LeafCert) -> None:
    certificate = changed(leaf, EC_KEY, EC_KEY[:-1] + b"\x7f")
    with pytest.raises(ConfigurationError, match=f"^{F}: contains a certificate for an unsupported type of key$"):
        client_from_pem(certificate, leaf.private_key_pem.bytes().decode(), None, "certContent", F)


def test_a_dsa_key_is_refused_because_it_takes_long_to_load() -> None:
    key = dsa.generate_private_key(1024).private_bytes(  # noqa: S505 - a longer one takes seconds to make
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(ConfigurationError, match=f"^{F}: contains an unsupported type of key$"):
        key_from_pem(key.decode(), None, F, "keyPassword")
