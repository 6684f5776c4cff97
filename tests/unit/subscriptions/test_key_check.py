"""Keys that would fail at the first delivery are refused when they are applied."""

from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519

from pipeline.core.errors import ConfigurationError
from pipeline.core.subscription import JwtProfileAuth, Subscription, TlsOptions
from pipeline.subscriptions.key_check import check_keys
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


def test_what_is_sound_passes() -> None:
    check_keys(Subscription("s", 1, "https://h/"))
    check_keys(with_key(pem(KEY)))
    check_keys(with_key(b"a secret of HMAC, which is no key in PEM", "HS256"))
    leaf = trustme.CA().issue_cert("client.example")
    check_keys(with_certificate(leaf.cert_chain_pems[0].bytes(), leaf.private_key_pem.bytes()))


def test_a_key_of_inconsistent_numbers_is_refused_everywhere() -> None:
    sentence = "contains an inconsistent RSA key"
    assert problem(with_key(unsound_rsa_key())) == f"auth.jwtProfileOauth2.keyContent: {sentence}"
    assert problem(with_certificate(b"", unsound_rsa_key())) == f"ssl.keyStore: {sentence}"


def test_a_key_that_would_take_minutes_to_judge_is_not_judged() -> None:
    odd, too = (1 << 4500) + 1, (1 << 4500) + 3  # these are no primes, which is not checked either
    numbers = rsa.RSAPrivateNumbers(odd, too, 5, 5, 5, 5, rsa.RSAPublicNumbers(65537, odd * too))
    long = numbers.private_key(unsafe_skip_rsa_key_validation=True)
    assert problem(with_certificate(b"", pem(long))) == "ssl.keyStore: contains an RSA key of 9001 bits; allowed: 8192"


def test_a_certificate_that_tls_can_not_show_is_refused() -> None:
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
