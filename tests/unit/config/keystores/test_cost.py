"""The cost of opening stores and keys is found before they are opened: config/keystores/cost.py."""

import base64
import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.keystores.certificates import (
    client_from_jks,
    client_from_pem,
    client_from_pkcs12,
    trusted_from_jks,
    trusted_from_pkcs12,
)
from pipeline.config.keystores.cost import MOST_ROUNDS, check_cost, check_pem_cost
from pipeline.core.errors import ConfigurationError
from tests.support.costly_stores import (
    PASSWORD,
    SALT,
    algorithm,
    element,
    encrypted_key,
    identifier,
    indefinite,
    number,
    pbes2,
    pbkdf2,
    scrypt,
    store,
)

KEY = ec.generate_private_key(ec.SECP256R1())
STORES = Path(__file__).parents[3] / "keystores"
FEW, MEGA = 65_793, 1_048_577
FEW_DER, MEGA_DER = bytes.fromhex("0203010101"), bytes.fromhex("0203100001")
"""FEW and MEGA as INTEGERs of the same length. A store is made with FEW rounds, and then changed to demand MEGA
rounds."""


COSTLY = {
    "pkcs12, MAC of 2^25": store(2**25),
    "pkcs12, MAC of 2^31 - 1": store(2**31 - 1),
    "pkcs12, MAC, BER": store(2**31 - 1, indefinite),
    "pbkdf2": pbes2(pbkdf2(2**31 - 1)),
    "pbkdf2, with a length and a function": pbes2(
        pbkdf2(2**31 - 1, number(32), algorithm("2a864886f70d020b", b"\5\0"))
    ),
    "pbkdf2, many": element(0x30, *[pbes2(pbkdf2(MOST_ROUNDS // 10)) for _ in range(11)]),
    "pbes1": encrypted_key(identifier("2a864886f70d010c0103"), element(0x30, SALT, number(2**31 - 1))),
    "scrypt, memory": pbes2(scrypt(2**22, 8, 1)),
    "scrypt, time": pbes2(scrypt(2, 1, 2**30)),
    "in an octet string": element(4, element(0x30, pbes2(pbkdf2(2**31 - 1)))),
    "in segments": element(0x24, element(4, store(2**25)[:20]), element(4, store(2**25)[20:])),
    "beside a long tag": element(0x30, b"\x3f\x81\x01\0", pbes2(pbkdf2(2**31 - 1))),
    "before garbage": pbes2(pbkdf2(2**31 - 1)) + b"\xff\xff\xff",
}


@pytest.mark.parametrize("name", COSTLY)
def test_a_store_that_takes_long_to_open_is_refused(name: str) -> None:
    data = COSTLY[name]
    with pytest.raises(
        ConfigurationError, match=r"^x: asks for \d+ rounds of key derivation; allowed: 1000000 in all$"
    ):
        check_cost(data, "x")
    pem = (
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n" + base64.encodebytes(data) + b"-----END ENCRYPTED PRIVATE KEY-----\n"
    )
    for text in (pem, b"a\n" + pem.replace(b"\n", b"\r\n"), pem.replace(b"KEY-----\n", b"KEY-----\nX: y\n\n", 1)):
        with pytest.raises(ConfigurationError, match="rounds of key derivation"):
            check_pem_cost(text, "x")


def test_every_way_to_open_a_store_checks_its_cost() -> None:
    hostile = store(2**31 - 1)
    pem = base64.encodebytes(COSTLY["pbkdf2"]).decode()
    pem = f"-----BEGIN ENCRYPTED PRIVATE KEY-----\n{pem}-----END ENCRYPTED PRIVATE KEY-----\n"
    ways: list[Callable[[], object]] = [
        lambda: trusted_from_pkcs12(hostile, PASSWORD, "x"),
        lambda: trusted_from_jks(hostile, PASSWORD, "x"),
        lambda: client_from_pkcs12(hostile, PASSWORD, "x"),
        lambda: client_from_jks(hostile, PASSWORD, "x", key_password=None, alias=None),
        lambda: client_from_pem(certificate().public_bytes(Encoding.PEM).decode(), pem, PASSWORD, "y", "x"),
    ]
    for way in ways:
        with pytest.raises(ConfigurationError, match=r"^x: asks for 2147483647 rounds of key derivation"):
            way()


def certificate() -> x509.Certificate:
    """A self-signed certificate of KEY."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(KEY.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + dt.timedelta(1))
    return builder.sign(KEY, hashes.SHA256())


@pytest.mark.parametrize("scheme", [pkcs12.PBES.PBESv2SHA256AndAES256CBC, pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC])
def test_the_cost_of_a_store_includes_the_rounds_of_each_part(scheme: pkcs12.PBES) -> None:
    builder = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(FEW).key_cert_algorithm(scheme)
    protection = builder.hmac_hash(hashes.SHA256()).build(PASSWORD.encode())
    made = pkcs12.serialize_key_and_certificates(b"a", KEY, certificate(), None, protection).replace(FEW_DER, MEGA_DER)
    assert made.count(MEGA_DER) >= 2
    with pytest.raises(ConfigurationError) as caught:
        check_cost(made, "x")
    # If the library itself chooses the number of rounds, this is at most 20,000.
    assert made.count(MEGA_DER) * MEGA <= int(str(caught.value).split()[3]) <= made.count(MEGA_DER) * MEGA + 20_000


def test_an_openssh_key_with_many_rounds_is_refused() -> None:
    def text(data: bytes) -> bytes:
        return len(data).to_bytes(4) + data

    options = text(b"salt") + (2**31 - 1).to_bytes(4)
    data = b"openssh-key-v1\0" + text(b"aes256-ctr") + text(b"bcrypt") + text(options)
    label = b"OPENSSH PRIVATE KEY-----\n"
    with pytest.raises(ConfigurationError, match="rounds of key derivation"):
        check_pem_cost(b"-----BEGIN " + label + base64.encodebytes(data) + b"-----END " + label, "x")


@pytest.mark.parametrize("name", ["keys.p12", "two-keys.p12", "keys.jks", "trust.jks"])
def test_stores_made_by_keytool_are_opened(name: str) -> None:
    check_cost((STORES / name).read_bytes(), "x")


@pytest.mark.parametrize("encoding", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_common_keys_are_opened(encoding: PrivateFormat) -> None:
    for protection in (NoEncryption(), BestAvailableEncryption(PASSWORD.encode())):
        check_pem_cost(KEY.private_bytes(Encoding.PEM, encoding, protection), "x")


@given(st.binary(max_size=200), st.integers(0, 60))
def test_the_cost_of_any_bytes_is_computed_without_a_crash(noise: bytes, depth: int) -> None:
    for data in (noise, b"\x30\x80" * depth + noise, b"\x24\x80" * depth + noise):
        try:
            check_cost(data, "x")
            check_pem_cost(data, "x")
        except ConfigurationError:
            pass
