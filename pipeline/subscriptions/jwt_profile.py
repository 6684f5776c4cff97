"""The `auth.jwtProfileOauth2` block of a subscription: finds, opens and checks its key when it is applied."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from pipeline.config.keystores.certificates import from_base64
from pipeline.config.keystores.files import read_key_file
from pipeline.config.keystores.opening import Opener, Store
from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import shown
from pipeline.core.subscription import AssertionAlgorithm, JwtProfileAuth
from pipeline.subscriptions.auth_schema import JwtProfileOAuth2, KeystoreOptions
from pipeline.subscriptions.key_check import LONGEST_RSA_BITS

SHORTEST_RSA_BITS: Final = 2048
"""RFC 7518 section 3.3."""

_SECONDS: Final = {"SECONDS": 1, "MINUTES": 60, "HOURS": 3600, "DAYS": 86_400}
_HMAC: Final[dict[str, tuple[AssertionAlgorithm, int]]] = {
    "HMAC_HS256": ("HS256", 32),
    "HMAC_HS384": ("HS384", 48),
    "HMAC_HS512": ("HS512", 64),
}
"""For each name that Gravitee uses: the name in RFC 7518, and the shortest allowed key in bytes (section 3.2)."""

# A JKS store in base64 begins with these characters. It is not a path, although it begins with a slash.
_JKS_IN_BASE64: Final = "/u3+7Q"


@dataclass(frozen=True, slots=True)
class _Key:
    """The signing key, and the certificate chain for `x5c` (DER in base64)."""

    key: bytes
    certificates: tuple[str, ...] = ()


def jwt_profile(wire: JwtProfileOAuth2, path: str, folder: Path | None, opener: Opener) -> JwtProfileAuth:
    """The credentials of a subscription.

    Args:
        wire: the block, decrypted.
        path: the block's path, for errors.
        folder: the directory of key stores that a subscription may name by path.
        opener: opens key stores.

    Raises:
        ConfigurationError: the key can't be used; names the field, never the key.
    """
    hmac = _HMAC.get(wire.signature_algorithm)
    algorithm: AssertionAlgorithm = "RS256" if hmac is None else hmac[0]
    found = _rsa(wire, path, folder, opener) if hmac is None else _Key(_secret(wire, path, algorithm, hmac[1]))
    return JwtProfileAuth(
        endpoint=wire.endpoint or wire.audience,
        issuer=wire.issuer,
        subject=wire.subject,
        audience=wire.audience,
        key=found.key,
        algorithm=algorithm,
        lifetime_seconds=wire.expiration_time * _SECONDS[wire.expiration_time_unit],
        key_id=wire.key_id or None,
        jwt_id=wire.jwt_id or None,
        certificates=found.certificates,
        claims=tuple((claim.name, claim.value) for claim in wire.custom_claims or ()),
        scopes=tuple(wire.scopes or ()),
    )


def _secret(wire: JwtProfileOAuth2, path: str, algorithm: str, shortest: int) -> bytes:
    if wire.key_source != "INLINE":
        raise ConfigurationError(f"{path}.keySource: must be INLINE for an HMAC secret")
    if wire.x509_cert_chain != "NONE":
        raise ConfigurationError(f"{path}.x509CertChain: an HMAC secret has no certificates; allowed: NONE")
    field = f"{path}.keyContent"
    secret = from_base64(wire.key_content, field) if wire.secret_base64_encoded else wire.key_content.encode()
    if len(secret) < shortest:
        raise ConfigurationError(
            f"{field}: has {len(secret)} bytes; {algorithm} needs at least {shortest} (RFC 7518 section 3.2)"
        )
    try:
        jwt.get_algorithm_by_name(algorithm).prepare_key(secret)
    except jwt.InvalidKeyError:
        raise ConfigurationError(f"{field}: is a key or a certificate, not an HMAC secret") from None
    return secret


def _rsa(wire: JwtProfileOAuth2, path: str, folder: Path | None, opener: Opener) -> _Key:
    if wire.secret_base64_encoded:
        raise ConfigurationError(f"{path}.secretBase64Encoded: is only for HMAC secrets")
    options = wire.keystore_options or KeystoreOptions()
    field, content = f"{path}.keyContent", wire.key_content
    match wire.key_source:
        case "INLINE" | "PEM":
            if wire.x509_cert_chain != "NONE":
                raise ConfigurationError(
                    f"{path}.x509CertChain: {shown(wire.x509_cert_chain)} needs a key store; "
                    'with PEM, the only allowed value is "NONE"'
                )
            is_path = wire.key_source == "PEM" and _is_path(content)
            pem = read_key_file(folder, content, field) if is_path else content.encode(errors="surrogatepass")
            closed = Store(
                "PEM",
                path,
                key=pem,
                key_path=field,
                key_password=options.key_password,
                unlocked_by="keystoreOptions.keyPassword",
            )
            return _Key(_checked(opener.key(closed), field))
        case kind:
            data, password = _store(content, field, folder), options.store_password
            if kind == "JKS" and password is None:
                raise ConfigurationError(f"{path}.keystoreOptions.storePassword: is required for a JKS store")
            closed = Store(kind, field, data, password, key_password=options.key_password, alias=options.alias)
            client = opener.client(closed)
            key = _checked(client.key_pem, field)
            return _Key(key, _x5c(client.certificate_pem) if wire.x509_cert_chain == "X5C" else ())


def _store(content: str, field: str, folder: Path | None) -> bytes:
    return read_key_file(folder, content, field) if _is_path(content) else from_base64(content, field)


def _is_path(content: str) -> bool:
    return content.startswith("/") and not content.startswith(_JKS_IN_BASE64)


def _checked(pem: str, field: str) -> bytes:
    """The key; an error if it is not an RSA key. key_check.py validates its numbers when a subscription is applied."""
    key = serialization.load_pem_private_key(pem.encode(), None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, RSAPrivateKey) or not SHORTEST_RSA_BITS <= key.key_size <= LONGEST_RSA_BITS:
        raise ConfigurationError(
            f"{field}: must be an RSA key of {SHORTEST_RSA_BITS} to {LONGEST_RSA_BITS} bits for RS256"
        )
    return pem.encode()


def _x5c(chain: str) -> tuple[str, ...]:
    """The chain for the `x5c` header (RFC 7515 section 4.1.6)."""
    return tuple(
        base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
        for certificate in x509.load_pem_x509_certificates(chain.encode())
    )
