"""Client assertions, checked against the specification and by pyjwt only."""

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.types import Options

from pipeline.auth import assertion
from pipeline.auth.assertion import client_assertion
from pipeline.config.keystores.opening import OpenHere
from pipeline.config.schema import read
from pipeline.core.errors import ConfigurationError
from pipeline.core.subscription import JwtProfileAuth
from pipeline.subscriptions.auth import auth_of
from pipeline.subscriptions.auth_schema import Auth

NOW = 1_800_000_000.5
P = "configuration.entrypointConfiguration.auth"
STORES = Path(__file__).parents[2] / "keystores"
KEY = rsa.generate_private_key(65537, 2048)
PEM = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
INLINE = KEY.private_bytes(*PEM, serialization.NoEncryption()).decode()
LOCKED = KEY.private_bytes(*PEM, serialization.BestAvailableEncryption(b"key-secret")).decode()
SECRET = "a secret that is long enough for the longest of the three digests"


def block(**changes: Any) -> dict[str, Any]:
    return {
        "issuer": "me",
        "subject": "client-1",
        "audience": "https://id.example/token",
        "keyContent": INLINE,
        **changes,
    }


def made(folder: Path | None = None, **changes: Any) -> JwtProfileAuth:
    document = {"type": "jwtProfileOauth2", "jwtProfileOauth2": block(**changes)}
    auth = auth_of(read(Auth, document, P), P, folder, OpenHere())
    assert isinstance(auth, JwtProfileAuth)
    return auth


def problem(folder: Path | None = None, **changes: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        made(folder, **changes)
    text = str(caught.value)
    assert text.startswith(f"{P}.jwtProfileOauth2"), text
    assert not any(hidden in text for hidden in (SECRET, "PRIVATE KEY", "store-secret", "key-secret"))
    return text.removeprefix(f"{P}.jwtProfileOauth2")


def verified(auth: JwtProfileAuth, key: Any, algorithm: str = "RS256") -> dict[str, Any]:
    options: Options = {"require": ["iss", "sub", "aud", "iat", "exp", "jti"], "verify_exp": False, "verify_iat": False}
    claims: dict[str, Any] = jwt.decode(
        client_assertion(auth, NOW), key, algorithms=[algorithm], audience=auth.audience, options=options
    )
    return claims


def test_an_assertion_has_the_configured_claims_and_a_new_id() -> None:
    auth = made(expirationTime=2, expirationTimeUnit="MINUTES", customClaims=[{"name": "tenant", "value": "t1"}])
    first, second = (verified(auth, KEY.public_key()) for _ in range(2))
    assert first["jti"] != second["jti"]
    assert {name: first[name] for name in first if name != "jti"} == {
        "iss": "me",
        "sub": "client-1",
        "aud": "https://id.example/token",
        "iat": 1_800_000_000,
        "exp": 1_800_000_120,
        "tenant": "t1",
    }


def test_configured_claims_replace_no_claim_of_the_assertion() -> None:
    auth = made(jwtId="own")
    names = ("iss", "sub", "aud", "iat", "exp", "jti")
    forged = replace(auth, claims=tuple((name, "forged") for name in names))
    assert verified(forged, KEY.public_key()) == verified(auth, KEY.public_key())


@pytest.mark.parametrize(("unit", "seconds"), [("SECONDS", 3), ("MINUTES", 180), ("HOURS", 10_800), ("DAYS", 259_200)])
def test_the_lifetime_may_have_any_unit(unit: str, seconds: int) -> None:
    assert made(expirationTime=3, expirationTimeUnit=unit).lifetime_seconds == seconds
    assert made().lifetime_seconds == 30


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_secret_may_be_given_as_plain_text_or_as_base64(algorithm: str) -> None:
    name = f"HMAC_{algorithm}"
    plain = made(signatureAlgorithm=name, keyContent=SECRET)
    encoded = made(
        signatureAlgorithm=name, keyContent=base64.b64encode(SECRET.encode()).decode(), secretBase64Encoded=True
    )
    assert plain.key == encoded.key
    assert verified(plain, SECRET, algorithm)["sub"] == "client-1"


def test_key_id_and_jwt_id_are_sent_as_given() -> None:
    auth = made(keyId="k-1", jwtId="j-1")
    assert jwt.get_unverified_header(client_assertion(auth, NOW))["kid"] == "k-1"
    assert verified(auth, KEY.public_key())["jti"] == "j-1"
    assert "kid" not in jwt.get_unverified_header(client_assertion(made(keyId=""), NOW))


@pytest.mark.parametrize("as_path", [True, False], ids=["path", "content"])
@pytest.mark.parametrize(
    ("source", "name", "options"),
    [
        ("JKS", "keys.jks", {"alias": "signer", "storePassword": "store-secret", "keyPassword": "key-secret"}),
        ("PKCS12", "keys.p12", {"storePassword": "store-secret"}),
    ],
)
def test_a_key_store_signs_and_sends_its_chain(source: str, name: str, options: dict[str, str], as_path: bool) -> None:
    store = STORES / name
    content = str(store) if as_path else base64.b64encode(store.read_bytes()).decode()
    auth = made(
        STORES, keySource=source, keyContent=content, keystoreOptions=options, x509CertChain="X5C", jwtId="once"
    )
    header = jwt.get_unverified_header(client_assertion(auth, NOW))
    [certificate] = [x509.load_der_x509_certificate(base64.b64decode(each)) for each in header["x5c"]]
    assert certificate.subject.rfc4514_string() == "CN=signer"
    assert verified(auth, certificate.public_key())["jti"] == "once"
    without = made(STORES, keySource=source, keyContent=content, keystoreOptions=options)
    assert "x5c" not in jwt.get_unverified_header(client_assertion(without, NOW))


def test_a_pem_key_comes_from_the_folder_or_the_subscription(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text(LOCKED)
    options = {"keyPassword": "key-secret"}
    for content in (str(tmp_path / "key.pem"), LOCKED):
        auth = made(tmp_path, keySource="PEM", keyContent=content, keystoreOptions=options)
        assert verified(auth, KEY.public_key())["iss"] == "me"


def test_the_default_audience_is_the_token_endpoint() -> None:
    assert made().endpoint == "https://id.example/token"
    named = made(audience="urn:issuer", endpoint="https://id.example/oauth/token", scopes=["a", "b"])
    assert (named.endpoint, named.audience, named.scopes) == (
        "https://id.example/oauth/token",
        "urn:issuer",
        ("a", "b"),
    )


def test_signing_does_not_validate_the_key_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validating a key takes thirty times as long as signing, and the time grows with the cube of the key's length."""
    auth, loaded = made(), []

    def loading(data: bytes, password: bytes | None, **options: bool) -> Any:
        loaded.append(options)
        return serialization.load_pem_private_key(data, password, **options)

    monkeypatch.setattr(assertion, "load_pem_private_key", loading)
    verified(auth, KEY.public_key())
    assert loaded == [{"unsafe_skip_rsa_key_validation": True}]


def test_a_java_key_store_given_as_pem_is_refused_and_not_shown(tmp_path: Path) -> None:
    content = base64.b64encode((STORES / "keys.jks").read_bytes()).decode()
    assert content[:20] not in problem(tmp_path, keySource="PEM", keyContent=content)


def test_no_repr_shows_the_key_or_the_assertion() -> None:
    assert "PRIVATE" not in repr(made())


EC_KEY = ec.generate_private_key(ec.SECP256R1()).private_bytes(*PEM, serialization.NoEncryption()).decode()
SHORT_KEY = rsa.generate_private_key(65537, 1024)  # noqa: S505 - it has to be refused
SHORT_PEM = SHORT_KEY.private_bytes(*PEM, serialization.NoEncryption()).decode()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"audience": "urn:x"}, ".endpoint: is required if the audience is not the URL"),
        ({"endpoint": "ftp://x"}, ".endpoint: must begin with http:// or https://"),
        ({"expirationTime": 0}, ".expirationTime: 0 is out of range; allowed: 1 to 31536000"),
        ({"expirationTimeUnit": "WEEKS"}, '.expirationTimeUnit: "WEEKS" is not allowed'),
        ({"signatureAlgorithm": "none"}, '.signatureAlgorithm: "none" is not allowed'),
        ({"keyContent": "x"}, ".keyContent: is not a PEM private key"),
        ({"keyContent": EC_KEY}, ".keyContent: must be an RSA key of 2048 to 8192 bits"),
        ({"keyContent": SHORT_PEM}, ".keyContent: must be an RSA key of 2048 to 8192 bits"),
        ({"keyContent": LOCKED}, ".keyContent: is encrypted and needs keystoreOptions.keyPassword"),
        ({"x509CertChain": "X5C"}, '.x509CertChain: "X5C" needs a key store'),
        ({"secretBase64Encoded": True}, ".secretBase64Encoded: is only for HMAC secrets"),
        (
            {"signatureAlgorithm": "HMAC_HS256", "keyContent": "short"},
            ".keyContent: has 5 bytes; HS256 needs at least 32",
        ),
        ({"signatureAlgorithm": "HMAC_HS256", "keyContent": SECRET, "keySource": "JKS"}, ".keySource: must be INLINE"),
        (
            {"signatureAlgorithm": "HMAC_HS256", "keyContent": SECRET, "x509CertChain": "X5C"},
            ".x509CertChain: an HMAC secret",
        ),
        (
            {"signatureAlgorithm": "HMAC_HS256", "keyContent": "!", "secretBase64Encoded": True},
            ".keyContent: is not base64",
        ),
        (
            {"signatureAlgorithm": "HMAC_HS256", "keyContent": INLINE},
            ".keyContent: is a key or a certificate, not an HMAC secret",
        ),
        ({"keySource": "JKS", "keyContent": "AAAA"}, ".keystoreOptions.storePassword: is required"),
        (
            {"keySource": "PEM", "keyContent": "/etc/passwd"},
            ".keyContent: names a file, but WEBHOOKS_KEY_STORE_DIR is not set",
        ),
        ({"keySource": "PKCS12", "keyContent": "/etc/passwd"}, ".keyContent: names a file, but"),
        ({"customClaims": [{"name": "exp", "value": "9"}]}, '.customClaims: "exp" has its own field'),
        ({"customClaims": [{"name": "a", "value": "9"}] * 2}, '.customClaims: "a" is given twice'),
        ({"issuer": " "}, ".issuer: "),
    ],
)
def test_a_mistake_is_refused_with_its_field(changes: dict[str, Any], sentence: str) -> None:
    assert problem(**changes).startswith(sentence)
