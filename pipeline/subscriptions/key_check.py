"""Whether the keys of a subscription are any good: asked when it is applied, and not whenever a worker reads it.

To judge the numbers of an RSA key takes 30 ms with 2048 bits and 200 ms with 4096; a worker that starts reads thousands
of subscriptions before it delivers.
"""

from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pipeline.core.errors import ConfigurationError
from pipeline.core.subscription import JwtProfileAuth, Subscription
from pipeline.http.tls import tls_context
from pipeline.subscriptions.schema import OPTIONS

LONGEST_RSA_BITS: Final = 8192
"""To judge a key of so many takes a second or two, and longer with their third power beyond."""


def check_keys(subscription: Subscription) -> None:
    """Whether the subscription's private keys are sound, and TLS takes its stores. Blocks for up to seconds.

    Raises:
        ConfigurationError: one is not; names the field, never what it holds.
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
    # How many bits, has to be known first.
    key = load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, RSAPrivateKey):
        return
    if key.key_size > LONGEST_RSA_BITS:
        raise ConfigurationError(f"{field}: holds an RSA key of {key.key_size} bits; allowed: {LONGEST_RSA_BITS}")
    try:
        load_pem_private_key(pem, None)
    except ValueError:
        raise ConfigurationError(f"{field}: holds an inconsistent RSA key") from None
