"""JKS stores that keytool made, and other data that users may pass as JKS."""

import hashlib
import struct
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.keystores.certificates import client_from_jks, trusted_from_jks
from pipeline.config.keystores.jks import MAX_ENTRIES, read_jks, unprotect
from pipeline.core.errors import ConfigurationError

STORES = Path(__file__).parents[3] / "keystores"
KEYS = (STORES / "keys.jks").read_bytes()
TRUST = (STORES / "trust.jks").read_bytes()
PASSWORD, KEY_PASSWORD = "store-secret", "key-secret"
F = "keyStore.content"


def signed(body: bytes) -> bytes:
    """*body*, followed by the digest that depends on the store's password."""
    secret = PASSWORD.encode("utf-16-be") + b"Mighty Aphrodite" + body
    return body + hashlib.sha1(secret, usedforsecurity=False).digest()


def sentence(data: bytes, password: str = PASSWORD) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read_jks(data, password, F)
    text = str(caught.value)
    assert text.startswith(f"{F}: ")
    assert password not in text
    return text


def test_an_alias_finds_key_and_certificate_in_any_case() -> None:
    for alias in ("Signer", "signer", "SIGNER"):
        client = client_from_jks(KEYS, PASSWORD, F, key_password=KEY_PASSWORD, alias=alias)
        [certificate] = x509.load_pem_x509_certificates(client.certificate_pem.encode())
        assert certificate.subject.rfc4514_string() == "CN=signer"
        assert load_pem_private_key(client.key_pem.encode(), None).public_key() == certificate.public_key()


def test_the_defaults_are_the_first_key_and_the_store_password() -> None:
    client = client_from_jks(KEYS, PASSWORD, F, key_password=None, alias=None)
    [certificate] = x509.load_pem_x509_certificates(client.certificate_pem.encode())
    assert certificate.subject.rfc4514_string() == "CN=other"


def test_all_certificates_of_a_trust_store_are_trusted() -> None:
    [certificate] = x509.load_pem_x509_certificates(trusted_from_jks(TRUST, PASSWORD, F).encode())
    assert certificate.subject.rfc4514_string() == "CN=signer"


def test_a_pkcs12_store_declared_as_jks_is_read() -> None:
    store = (STORES / "keys.p12").read_bytes()
    client = client_from_jks(store, PASSWORD, F, key_password=None, alias="signer")
    assert client.certificate_pem == trusted_from_jks(store, PASSWORD, F)


def test_an_unusable_store_is_reported() -> None:
    assert "is damaged, or its password is wrong" in sentence(KEYS, "another")
    assert "is damaged, or its password is wrong" in sentence(KEYS[:-30] + b"\0" + KEYS[-29:])
    assert "is of type JCEKS" in sentence((STORES / "keys.jceks").read_bytes()).replace("a store ", "")
    assert "is not a JKS store" in sentence((STORES / "keys.p12").read_bytes())
    assert "is not a JKS store" in sentence(b"")
    with pytest.raises(ConfigurationError, match="the password of the key is wrong"):
        client_from_jks(KEYS, PASSWORD, F, key_password=None, alias="signer")
    with pytest.raises(ConfigurationError, match='no key with the alias "nobody"; its keys: "other", "signer"'):
        client_from_jks(KEYS, PASSWORD, F, key_password=None, alias="nobody")
    with pytest.raises(ConfigurationError, match="contains no key"):
        client_from_jks(TRUST, PASSWORD, F, key_password=None, alias=None)
    with pytest.raises(ConfigurationError, match="contains no trusted certificate"):
        trusted_from_jks(KEYS, PASSWORD, F)


def test_invalid_lengths_in_a_store_are_refused() -> None:
    head = struct.pack(">II", 0xFEEDFEED, 2)
    assert f"contains {MAX_ENTRIES + 1} entries" in sentence(signed(head + struct.pack(">I", MAX_ENTRIES + 1)))
    assert "is cut off" in sentence(signed(head + struct.pack(">I", 5)))
    entry = struct.pack(">IIH", 1, 1, 0) + bytes(8) + struct.pack(">II", 0, 2**32 - 1)
    assert "a chain of 4294967295 certificates" in sentence(signed(head + entry))
    assert "an entry of the unknown type 9" in sentence(signed(head + struct.pack(">IIH", 1, 9, 0) + bytes(8)))


@given(st.integers(0, len(KEYS)))
def test_a_store_that_is_cut_off_anywhere_is_refused(length: int) -> None:
    if length < len(KEYS):
        sentence(KEYS[:length])


@given(st.binary(max_size=200))
def test_entries_of_any_bytes_are_read_or_refused(entries: bytes) -> None:
    data = signed(struct.pack(">II", 0xFEEDFEED, 2) + entries)
    try:
        store = read_jks(data, PASSWORD, F)
    except ConfigurationError:
        return
    for key in store.keys.values():
        with pytest.raises(ConfigurationError):
            unprotect(key, PASSWORD, F)


@given(st.binary(max_size=120), st.integers(0, 60))
def test_any_protected_key_is_opened_or_refused(noise: bytes, at: int) -> None:
    key = read_jks(KEYS, PASSWORD, F).keys["signer"]
    damaged = key.protected[:at] + noise + key.protected[at + len(noise) :]
    if damaged == key.protected:
        return
    try:
        unprotect(type(key)(damaged, key.chain), KEY_PASSWORD, F)
    except ConfigurationError as error:
        problems = error.problems
        assert all(problem.startswith(F) for problem in problems)
