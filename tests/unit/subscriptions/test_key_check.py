"""Keys that would fail at the first delivery are refused when they are applied."""

import base64
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519

from pipeline.core.errors import ConfigurationError
from pipeline.core.subscription import JwtProfileAuth, Subscription, TlsOptions
from pipeline.subscriptions.key_check import check_keys
from tests.support.costly_stores import element
from tests.support.costly_stores import number as integer
from tests.support.unsound import unsound_rsa_key

KEY = rsa.generate_private_key(65537, 2048)


def pem(key: Any) -> bytes:
    encoded: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return encoded


def with_key(key: bytes, algorithm: Any = "RS256") -> Subscription:
    url = "https://id.example/token"
    return Subscription("s", 1, url, auth=JwtProfileAuth(url, "i", "s", url, key, algorithm))


def with_certificate(certificate: bytes, key: bytes) -> Subscription:
    tls = TlsOptions(client_certificate_pem=certificate.decode(), client_key_pem=key.decode())
    return Subscription("s", 1, "https://h/", tls=tls)


def problem(subscription: Subscription) -> str:
    with pytest.raises(ConfigurationError) as caught:
        check_keys(subscription)
    text = str(caught.value)
    assert "PRIVATE" not in text
    return text.removeprefix("configuration.entrypointConfiguration.")


def test_valid_keys_and_stores_pass() -> None:
    check_keys(Subscription("s", 1, "https://h/"))
    check_keys(with_key(pem(KEY)))
    check_keys(with_key(b"a secret of HMAC, which is no key in PEM", "HS256"))
    leaf = trustme.CA().issue_cert("client.example")
    check_keys(with_certificate(leaf.cert_chain_pems[0].bytes(), leaf.private_key_pem.bytes()))


def test_a_key_with_inconsistent_numbers_is_refused_everywhere() -> None:
    sentence = "contains an inconsistent RSA key"
    assert problem(with_key(unsound_rsa_key())) == f"auth.jwtProfileOauth2.keyContent: {sentence}"
    assert problem(with_certificate(b"", unsound_rsa_key())) == f"ssl.keyStore: {sentence}"


def test_a_key_that_takes_minutes_to_validate_is_refused() -> None:
    odd, too = (1 << 4500) + 1, (1 << 4500) + 3  # not primes, but the length is checked first
    numbers = rsa.RSAPrivateNumbers(odd, too, 5, 5, 5, 5, rsa.RSAPublicNumbers(65537, odd * too))
    long = numbers.private_key(unsafe_skip_rsa_key_validation=True)
    assert problem(with_certificate(b"", pem(long))) == "ssl.keyStore: contains an RSA key of 9001 bits; allowed: 8192"


@pytest.mark.parametrize("name", ["p", "q"])
def test_a_prime_longer_than_the_modulus_is_refused_at_once(name: str) -> None:
    """2**86243 - 1 is a prime, so a test for primes would make all of its rounds. It would take hours."""
    sentence = "contains an inconsistent RSA key"
    assert problem(with_key(changed(**{name: 2**86243 - 1}))) == f"auth.jwtProfileOauth2.keyContent: {sentence}"


@pytest.mark.parametrize("name", ["p", "q", "d", "dmp1", "dmq1", "iqmp"])
@pytest.mark.parametrize("power", [0, 1, 100_000])
def test_every_number_of_a_key_is_validated(name: str, power: int) -> None:
    sentence = "contains an inconsistent RSA key"
    assert problem(with_key(changed(**{name: 2**power}))) == f"auth.jwtProfileOauth2.keyContent: {sentence}"


def test_a_composite_number_in_place_of_a_prime_is_refused() -> None:
    p, q, e = 3 * KEY.private_numbers().p, KEY.private_numbers().q, 65537
    d = pow(e, -1, (p - 1) * (q - 1))
    numbers = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), rsa.RSAPublicNumbers(e, p * q))
    key = pem(numbers.private_key(unsafe_skip_rsa_key_validation=True))
    assert problem(with_key(key)) == "auth.jwtProfileOauth2.keyContent: contains an inconsistent RSA key"


def changed(**numbers: int) -> bytes:
    """KEY in PEM, with other numbers."""
    own = KEY.private_numbers()
    n, e = own.public_numbers.n, own.public_numbers.e
    values = {"p": own.p, "q": own.q, "d": own.d, "dmp1": own.dmp1, "dmq1": own.dmq1, "iqmp": own.iqmp} | numbers
    parts = [integer(0), integer(n), integer(e)]
    parts += [integer(values[name]) for name in ("d", "p", "q", "dmp1", "dmq1", "iqmp")]
    encoded = base64.encodebytes(element(0x30, *parts))
    return b"-----BEGIN RSA PRIVATE KEY-----\n" + encoded + b"-----END RSA PRIVATE KEY-----\n"


def test_a_certificate_that_tls_can_not_present_is_refused() -> None:
    key, issuer = x25519.X25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "no signatures")])
    authority = trustme.CA()
    like = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(like.not_valid_before_utc)
        .not_valid_after(like.not_valid_after_utc)
        .sign(issuer, hashes.SHA256())
    )
    found = problem(with_certificate(certificate.public_bytes(serialization.Encoding.PEM), pem(key)))
    assert found.startswith("ssl.keyStore: ")


def test_a_trust_store_that_tls_can_not_read_is_refused() -> None:
    tls = TlsOptions(trusted_pem="-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert problem(Subscription("s", 1, "https://h/", tls=tls)).startswith("ssl.trustStore: ")
