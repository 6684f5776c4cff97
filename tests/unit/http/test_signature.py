import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import ConfigurationError
from pipeline.http.signature import Signer

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SEED = bytes(range(32))


def encoded(prefix: str, key: bytes) -> str:
    return prefix + base64.b64encode(key).decode()


def test_the_published_example_has_the_published_signature() -> None:
    signature = Signer.from_secrets([SECRET]).signature(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_several_secrets_give_signatures_in_the_same_order() -> None:
    other = encoded("whsec_", b"x" * 24)
    alone = [Signer.from_secrets([secret]).signature("i", 1, b"b") for secret in (SECRET, other)]
    assert Signer.from_secrets([SECRET, other]).signature("i", 1, b"b") == " ".join(alone)


@pytest.mark.parametrize(
    "key", [SEED, SEED + Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()]
)
def test_an_ed25519_signature_is_verified_by_its_public_key(key: bytes) -> None:
    version, _, signature = Signer.from_secrets([encoded("whsk_", key)]).signature("id", 7, b"body").partition(",")
    assert version == "v1a"
    Ed25519PrivateKey.from_private_bytes(SEED).public_key().verify(base64.b64decode(signature), b"id.7.body")


@given(body=st.binary(max_size=100), other=st.binary(max_size=100))
def test_bodies_that_differ_are_signed_differently(body: bytes, other: bytes) -> None:
    sign = Signer.from_secrets([SECRET])
    assert (sign.signature("i", 1, body) == sign.signature("i", 1, other)) == (body == other)


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "must begin with whsec_ or whsk_"),
        ("whsec_", "its base64 decodes to 0 bytes; allowed: 24 to 64"),
        ("whsec_?secret?", "must be base64"),
        ("whsec_ünicode-secret", "must be base64"),
        (encoded("whsec_", b"x" * 23), "decodes to 23 bytes"),
        (encoded("whsec_", b"x" * 65), "decodes to 65 bytes"),
        ("whsec_MfKQ9", "must be base64"),
        (encoded("whsec_", b"\xfb\xff" * 16).translate(str.maketrans("+/", "-_")), "must be base64"),
        (encoded("whsec_", b"x" * 32) + "\n", "must be base64"),
        ("whsec_ " + encoded("", b"x" * 32), "must be base64"),
        (encoded("whsk_", SEED + bytes(32)), "its public key, the second 32 bytes, does not belong to its seed"),
        (encoded("whsk_", b"x" * 31), "decodes to 31 bytes; allowed: 32 or 64"),
    ],
)
def test_an_unusable_secret_is_named_by_its_path_and_not_shown(secret: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Signer.from_secrets([SECRET, secret])
    assert str(refused.value).startswith("signing.secrets[1]: ")
    assert problem in str(refused.value)
    assert secret[6:] == "" or secret[6:] not in str(refused.value)


@pytest.mark.parametrize("size", range(24, 65))
def test_a_secret_without_its_base64_padding_is_accepted(size: int) -> None:
    secret = encoded("whsec_", bytes(range(size)))
    padded, bare = (Signer.from_secrets([each]).signature("i", 1, b"") for each in (secret, secret.rstrip("=")))
    assert padded == bare


@pytest.mark.parametrize("size", [24, 64])
def test_the_shortest_and_the_longest_key_can_be_used(size: int) -> None:
    assert Signer.from_secrets([encoded("whsec_", b"k" * size)]).signature("i", 1, b"").startswith("v1,")
