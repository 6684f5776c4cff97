"""Validates the keys of a subscription when it is applied, but not when a worker reads it.

Validating the numbers of an RSA key takes 30 ms with 2048 bits and 200 ms with 4096. A worker reads thousands of
subscriptions at start-up, before it delivers.
"""

from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pipeline.core.errors import ConfigurationError
from pipeline.core.subscription import JwtProfileAuth, Subscription
from pipeline.http.tls import tls_context
from pipeline.subscriptions.schema import OPTIONS

LONGEST_RSA_BITS: Final = 8192
"""Validating such a key takes one or two seconds; the time grows with the cube of the length."""


def check_keys(subscription: Subscription) -> None:
    """Check that a subscription's private keys are valid and that TLS accepts its stores. Blocks for up to seconds.

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
    # First loaded without validation, which would take too long for a key with too many bits.
    key = load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, RSAPrivateKey):
        return
    if key.key_size > LONGEST_RSA_BITS:
        raise ConfigurationError(f"{field}: contains an RSA key of {key.key_size} bits; allowed: {LONGEST_RSA_BITS}")
    try:
        load_pem_private_key(pem, None)
    except ValueError:
        raise ConfigurationError(f"{field}: contains an inconsistent RSA key") from None
