"""Keys of PKCS#12 stores by name: a store of keytool with two keys, and data that is not a store."""

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    NoEncryption,
    load_der_private_key,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.keystores.certificates import LONGEST_CHAIN, client_from_pkcs12
from pipeline.config.keystores.pkcs12 import key_bags
from pipeline.core.errors import ConfigurationError

STORES = Path(__file__).parents[3] / "keystores"
STORE = (STORES / "two-keys.p12").read_bytes()
PASSWORD = "store-secret"
F = "keyStore.content"


def subjects(alias: str | None) -> list[str]:
    """The subjects of the certificates of a key."""
    client = client_from_pkcs12(STORE, PASSWORD, F, alias)
    chain = x509.load_pem_x509_certificates(client.certificate_pem.encode())
    assert load_pem_private_key(client.key_pem.encode(), None).public_key() == chain[0].public_key()
    return [certificate.subject.rfc4514_string() for certificate in chain]


def test_keys_are_listed_in_store_order_and_stay_encrypted() -> None:
    first, signer = key_bags(STORE)
    assert (first.alias, signer.alias) == ("first", "signer")
    with pytest.raises(TypeError):
        load_der_private_key(first.key, None)
    assert isinstance(load_der_private_key(first.key, PASSWORD.encode()), ec.EllipticCurvePrivateKey)
    assert isinstance(load_der_private_key(signer.key, PASSWORD.encode()), rsa.RSAPrivateKey)


@pytest.mark.parametrize("alias", ["signer", "Signer", "SIGNER"])
def test_an_alias_selects_one_key_and_its_certificate_chain(alias: str) -> None:
    assert subjects(alias) == ["CN=signer", "CN=ca"]


def test_a_certificate_chain_is_limited_in_length() -> None:
    """Each of these certificates is issued by each of the others."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), None, now, now + dt.timedelta(1))
    certificates = [builder.serial_number(number).sign(key, hashes.SHA256()) for number in range(1, LONGEST_CHAIN + 5)]
    store = pkcs12.serialize_key_and_certificates(b"a", key, certificates[0], certificates[1:], NoEncryption())
    chain = x509.load_pem_x509_certificates(client_from_pkcs12(store, None, F).certificate_pem.encode())
    assert len(chain) == LONGEST_CHAIN


@pytest.mark.parametrize("alias", [None, "", "first", "First"])
def test_without_an_alias_the_first_key_is_used(alias: str | None) -> None:
    assert subjects(alias) == ["CN=first"]


def test_an_unknown_alias_is_reported_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError) as caught:
        client_from_pkcs12(STORE, PASSWORD, F, "nobody")
    assert str(caught.value) == f'{F}: contains no key with the alias "nobody"; its keys: "first", "signer"'


def test_unsorted_attributes_written_by_keytool_are_read() -> None:
    bags = key_bags((STORES / "long-alias.p12").read_bytes())
    assert [bag.alias for bag in bags] == ["first", "a-long-alias-of-a-signing-key"]


def test_no_key_is_in_a_repr() -> None:
    assert "key=" not in repr(key_bags(STORE)[0])


@given(st.integers(0, len(STORE) - 1), st.binary(min_size=1, max_size=40))
def test_a_damaged_store_is_read_or_refused(at: int, noise: bytes) -> None:
    try:
        key_bags(STORE[:at] + noise + STORE[at + len(noise) :])
        key_bags(STORE[:at])
    except ValueError:
        pass
