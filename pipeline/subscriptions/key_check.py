"""Validates the keys of a subscription when it is applied, but not when a worker reads it.

The library can validate RSA keys too, but it tests whether their numbers are primes. That takes four seconds for a key
of 8192 bits, and minutes for a key of three kilobytes in which one prime is longer than the modulus. During this test
it holds the interpreter lock, so neither the event loop nor heartbeats run. Here, only the arithmetic of the numbers is
checked, and the key has to sign: if a number is not prime, the signature is wrong.
"""

from typing import Final

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPrivateNumbers
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pipeline.core.errors import ConfigurationError
from pipeline.core.subscription import JwtProfileAuth, Subscription
from pipeline.http.tls import tls_context
from pipeline.subscriptions.schema import OPTIONS

LONGEST_RSA_BITS: Final = 8192
"""Signing with such a key takes 20 ms, in every TLS handshake; the time grows with the cube of the length."""


def check_keys(subscription: Subscription) -> None:
    """Check that a subscription's private keys are valid and that TLS accepts its stores. May block for seconds.

    Raises:
        ConfigurationError: a key or a store is refused; names the field, never its content.
    """
    auth = subscription.auth
    if isinstance(auth, JwtProfileAuth) and auth.algorithm == "RS256":
        _check_key(auth.key, f"{OPTIONS}.auth.jwtProfileOauth2.keyContent")
    tls = subscription.tls
    if tls.client_key_pem is not None:
        _check_key(tls.client_key_pem.encode(), f"{OPTIONS}.ssl.keyStore")
    if tls.client_key_pem is None and tls.trusted_pem is None:
        return
    try:
        tls_context(tls)
    except ConfigurationError as error:
        problems = [f"{OPTIONS}.{problem}" for problem in error.problems]
    else:
        return
    raise ConfigurationError(problems)


def _check_key(pem: bytes, field: str) -> None:
    key = load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, RSAPrivateKey):
        return
    if key.key_size > LONGEST_RSA_BITS:
        raise ConfigurationError(f"{field}: contains an RSA key of {key.key_size} bits; allowed: {LONGEST_RSA_BITS}")
    if not (_are_consistent(key.private_numbers(), key.key_size) and _can_sign(key)):
        raise ConfigurationError(f"{field}: contains an inconsistent RSA key")


def _are_consistent(numbers: RSAPrivateNumbers, bits: int) -> bool:
    """Whether the numbers belong together (RFC 8017 section 3.2). Long numbers are refused before they are used."""
    p, q, d = numbers.p, numbers.q, numbers.d
    n, e = numbers.public_numbers.n, numbers.public_numbers.e
    return (
        max(number.bit_length() for number in (p, q, d, e, numbers.iqmp)) <= bits
        and min(p, q) > 1
        and p * q == n
        and (numbers.dmp1, numbers.dmq1) == (d % (p - 1), d % (q - 1))
        and e * d % (p - 1) == e * d % (q - 1) == 1
        and numbers.iqmp * q % p == 1
    )


def _can_sign(key: RSAPrivateKey) -> bool:
    try:
        key.public_key().verify(key.sign(b"", PKCS1v15(), SHA256()), b"", PKCS1v15(), SHA256())
    except Exception:  # noqa: BLE001  # OpenSSL raises its own errors for numbers that it can't calculate with
        return False
    return True
