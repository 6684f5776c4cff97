"""Secrets are encrypted in records and masked for users. A masked secret is replaced by the stored one."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.fernet import Fernet

from pipeline.core.errors import ConfigurationError
from pipeline.subscriptions.envelope import parse_subscription, to_document
from pipeline.subscriptions.schema import WireSubscription
from pipeline.subscriptions.secrets import PREFIX, SecretBox, change_secrets, mask, unmask

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
SECRETS = ["header-cred", "cookie-cred", "basic-cred", "trust-cred", "trust-word", "key-cred", "key-word", "whsec_cred"]
DOCUMENT: dict[str, Any] = {
    "id": "s",
    "configuration": {
        "callbackUrl": "https://example.com",
        "headers": [
            {"name": "X-Team", "value": "shown"},
            {"name": "X-Api-Key", "value": "header-cred"},
            {"name": "cookie", "value": "cookie-cred"},
        ],
        "auth": {"type": "basic", "basic": {"username": "u", "password": "basic-cred"}},
        "ssl": {
            "trustStore": {"type": "PKCS12", "content": "trust-cred", "password": "trust-word"},
            "keyStore": {"type": "PEM", "certContent": "key-cred", "keyContent": "key-cred", "keyPassword": "key-word"},
        },
        "signing": {"secrets": ["whsec_cred", "whsec_cred"]},
    },
}


def test_every_secret_is_encrypted_and_decrypted() -> None:
    box = SecretBox([OLD])
    plain = parse_subscription(DOCUMENT)
    encrypted = box.encrypt_secrets(plain)
    text = json.dumps(to_document(encrypted))
    assert [secret for secret in SECRETS if secret in text] == []
    assert "shown" in text
    assert text.count(PREFIX) == 10
    # Records use the same models as users' documents.
    assert box.decrypt_secrets(parse_subscription(to_document(encrypted))) == plain


@pytest.mark.parametrize(
    "name", ["X-Service-Credential", "X-Service-Credentials", "X-Auth", "X-Passphrase", "X-AccessToken", "Signature"]
)
def test_a_header_named_like_a_credential_holds_a_secret(name: str) -> None:
    document = {
        "id": "s",
        "configuration": {"callbackUrl": "https://e", "headers": [{"name": name, "value": "cred-1"}]},
    }
    plain = parse_subscription(document)
    assert "cred-1" not in json.dumps([to_document(SecretBox([OLD]).encrypt_secrets(plain)), to_document(mask(plain))])


def test_a_secret_that_begins_like_a_ciphertext_is_encrypted() -> None:
    box = SecretBox([OLD])
    document = copy.deepcopy(DOCUMENT)
    document["configuration"]["auth"]["basic"]["password"] = "enc:v1:mine"
    plain = parse_subscription(document)
    assert box.decrypt_secrets(box.encrypt_secrets(plain)) == plain


def test_unencrypted_secrets_in_a_record_are_read() -> None:
    plain = parse_subscription(DOCUMENT)
    assert SecretBox([OLD]).decrypt_secrets(plain) == plain


def test_every_key_decrypts_and_the_first_encrypts() -> None:
    plain = parse_subscription(DOCUMENT)
    both = SecretBox([NEW, OLD])
    assert both.decrypt_secrets(SecretBox([OLD]).encrypt_secrets(plain)) == plain
    assert SecretBox([NEW]).decrypt_secrets(both.encrypt_secrets(plain)) == plain
    assert SecretBox([NEW]).decrypt(both.encrypt(b"token", b"here"), b"here") == b"token"
    assert both.decrypt(SecretBox([OLD]).encrypt(b"token", b"here"), b"here") == b"token"
    assert both.decrypt(Fernet(OLD).encrypt(b"token"), b"here") == b"token"


def of_an_earlier_version(subscription: WireSubscription) -> WireSubscription:
    return change_secrets(subscription, lambda _, value: "enc:v1:" + Fernet(OLD).encrypt(value.encode()).decode())


def test_an_old_ciphertext_is_read_and_encrypted_anew_on_writing() -> None:
    plain, box = parse_subscription(DOCUMENT), SecretBox([NEW, OLD])
    before = parse_subscription(to_document(of_an_earlier_version(plain)))
    assert box.decrypt_secrets(before) == plain
    assert "enc:v1:" not in json.dumps(to_document(box.encrypt_secrets(box.decrypt_secrets(before))))


def test_a_ciphertext_of_another_subscription_is_refused() -> None:
    box = SecretBox([OLD])
    document = to_document(box.encrypt_secrets(parse_subscription(DOCUMENT)))
    with pytest.raises(
        ConfigurationError,
        match=r"the secret of 't' can't be decrypted: .*, or the secret was copied from another place",
    ):
        box.decrypt_secrets(parse_subscription({**document, "id": "t"}))


def test_a_ciphertext_of_another_field_is_refused() -> None:
    """Otherwise a user could move an encrypted password to a header, and read it at the callback."""
    box = SecretBox([OLD])
    document = to_document(box.encrypt_secrets(parse_subscription(DOCUMENT)))
    options = document["configuration"]["entrypointConfiguration"]
    options["headers"][1]["value"] = options["auth"]["basic"]["password"]
    with pytest.raises(ConfigurationError, match=r"headers\[x-api-key\].value: the secret of 's' can't be decrypted"):
        box.decrypt_secrets(parse_subscription(document))


def test_secrets_of_reordered_headers_are_decrypted() -> None:
    box = SecretBox([OLD])
    document = to_document(box.encrypt_secrets(parse_subscription(DOCUMENT)))
    document["configuration"]["entrypointConfiguration"]["headers"].reverse()
    opened = box.decrypt_secrets(parse_subscription(document)).configuration.entrypoint_configuration
    assert [header.value for header in opened.headers or ()] == ["cookie-cred", "header-cred", "shown"]


@pytest.mark.parametrize("damaged", ["enc:v2:", "enc:v2:A", "enc:v2:" + "A" * 40, "enc:v2:ü", "enc:v1:ü", "enc:v1:x"])
def test_a_damaged_ciphertext_is_reported(damaged: str) -> None:
    document = copy.deepcopy(DOCUMENT)
    document["configuration"]["auth"]["basic"]["password"] = damaged
    with pytest.raises(ConfigurationError, match=r"basic.password: the secret of 's' can't be decrypted"):
        SecretBox([OLD]).decrypt_secrets(parse_subscription(document))


def test_a_secret_encrypted_with_a_lost_key_is_named() -> None:
    encrypted = SecretBox([OLD]).encrypt_secrets(parse_subscription(DOCUMENT))
    with pytest.raises(ConfigurationError) as caught:
        SecretBox([NEW]).decrypt_secrets(encrypted)
    text = str(caught.value)
    assert text == (
        "configuration.entrypointConfiguration.headers[x-api-key].value: "
        "the secret of 's' can't be decrypted: no key in WEBHOOKS_SECRET_KEYS fits, or the secret was copied from "
        "another place"
    )
    with pytest.raises(ConfigurationError):
        SecretBox([NEW]).decrypt(b"damaged", b"here")
    with pytest.raises(ConfigurationError):
        SecretBox([NEW]).decrypt(SecretBox([NEW]).encrypt(b"token", b"here"), b"there")


@pytest.mark.parametrize("keys", [[], ["hunter2"]])
def test_invalid_keys_are_refused_and_not_shown(keys: list[str]) -> None:
    with pytest.raises(ConfigurationError, match=r"^SECRET_KEYS: ") as caught:
        SecretBox(keys)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_mask_in_a_document_keeps_the_stored_secret() -> None:
    stored = parse_subscription(DOCUMENT)
    shown = to_document(mask(stored))
    assert [secret for secret in SECRETS if secret in json.dumps(shown)] == []
    shown["configuration"]["entrypointConfiguration"]["headers"].insert(0, {"name": "X-New", "value": "1"})
    shown["configuration"]["entrypointConfiguration"]["auth"]["basic"]["password"] = "changed"
    found = unmask(parse_subscription(shown), stored).configuration.entrypoint_configuration
    assert found.headers is not None
    assert [header.value for header in found.headers] == ["1", "shown", "header-cred", "cookie-cred"]
    assert found.auth is not None
    assert found.auth.basic is not None
    assert found.auth.basic.password == "changed"
    assert found.signing is not None
    assert found.signing.secrets == ["whsec_cred", "whsec_cred"]


def test_a_mask_without_a_stored_secret_is_refused() -> None:
    masked = mask(parse_subscription(DOCUMENT))
    with pytest.raises(ConfigurationError, match=r"headers\[x-api-key\].value: is masked, and no secret is stored"):
        unmask(masked, None)


OAUTH2 = {
    "type": "oauth2",
    "oauth2": {"endpoint": "https://id.example/token", "clientId": "c", "clientSecret": "oauth-cred"},
}
PROFILE = {
    "type": "jwtProfileOauth2",
    "jwtProfileOauth2": {
        "issuer": "i",
        "subject": "s",
        "audience": "https://id.example/token",
        "keyContent": "profile-cred",
    },
}


def again(auth: dict[str, Any], change: Callable[[dict[str, Any]], None]) -> None:
    """Apply the shown document with a change."""
    document = copy.deepcopy(DOCUMENT)
    document["configuration"]["auth"] = auth
    stored = parse_subscription(document)
    shown = to_document(mask(stored))
    change(shown["configuration"]["entrypointConfiguration"])
    unmask(parse_subscription(shown), stored)


@pytest.mark.parametrize("url", ["https://other.example", "http://example.com", "https://example.com:8443"])
def test_a_masked_secret_can_t_be_sent_to_another_origin(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"x-api-key\].value: is masked, and .*callbackUrl has another scheme"):
        again(DOCUMENT["configuration"]["auth"], lambda options: options.update(callbackUrl=url))


@pytest.mark.parametrize(("auth", "name"), [(OAUTH2, "oauth2"), (PROFILE, "jwtProfileOauth2")])
def test_masked_credentials_are_refused_for_another_callback(auth: dict[str, Any], name: str) -> None:
    def move(options: dict[str, Any]) -> None:
        options["callbackUrl"] = "https://other.example"
        del options["headers"]

    with pytest.raises(ConfigurationError, match=f"auth.{name}.*: is masked, and .*callbackUrl has another scheme"):
        again(auth, move)


def test_headers_with_the_same_name_keep_their_secrets() -> None:
    document = copy.deepcopy(DOCUMENT)
    document["configuration"]["headers"] = [{"name": name, "value": name} for name in ("X-Key", "x-key", "X-KEY")]
    stored = parse_subscription(document)
    assert unmask(parse_subscription(to_document(mask(stored))), stored) == stored


@pytest.mark.parametrize("url", ["https://example.com/other?path=1", "https://EXAMPLE.com:443/"])
def test_on_the_same_origin_a_masked_secret_is_kept(url: str) -> None:
    again(DOCUMENT["configuration"]["auth"], lambda options: options.update(callbackUrl=url))


@pytest.mark.parametrize(
    ("auth", "name", "field"), [(OAUTH2, "oauth2", "endpoint"), (PROFILE, "jwtProfileOauth2", "audience")]
)
def test_masked_credentials_are_refused_for_another_endpoint(auth: dict[str, Any], name: str, field: str) -> None:
    again(auth, lambda options: options["auth"][name].update({field: "https://id.example/other"}))
    with pytest.raises(
        ConfigurationError,
        match=f"auth.{name}.*: is masked, and .*auth.{name}.{field} has another scheme",
    ):
        again(auth, lambda options: options["auth"][name].update({field: "https://evil.example/token"}))


URL = "https://example.com/hook?x=%27a&access_token=planted%2F1&sig=planted-2&sig=planted=3#planted"
TOKEN_URL = "https://id.example/token?key=planted-4"


def with_urls() -> dict[str, Any]:
    document = copy.deepcopy(DOCUMENT)
    document["configuration"]["callbackUrl"] = URL.removesuffix("#planted")
    document["configuration"]["auth"] = copy.deepcopy(OAUTH2)
    document["configuration"]["auth"]["oauth2"]["endpoint"] = TOKEN_URL
    return document


def test_only_credentials_in_the_query_of_a_url_are_secret() -> None:
    box = SecretBox([OLD])
    plain = parse_subscription(with_urls())
    encrypted, shown = box.encrypt_secrets(plain), mask(plain)

    assert "planted" not in json.dumps([to_document(encrypted), to_document(shown)])
    assert "planted" not in repr([plain, encrypted, shown])
    options = shown.configuration.entrypoint_configuration
    assert options.callback_url == "https://example.com/hook?x=%27a&access_token=********&sig=********&sig=********"
    assert box.decrypt_secrets(parse_subscription(to_document(encrypted))) == plain
    assert unmask(shown, plain) == plain


def test_a_mask_in_a_query_needs_a_secret_stored_for_its_origin() -> None:
    stored = parse_subscription(with_urls())
    shown = to_document(mask(stored))
    options = shown["configuration"]["entrypointConfiguration"]
    options["callbackUrl"] = "https://other.example/?access_token=********"
    del options["headers"], options["auth"]
    with pytest.raises(ConfigurationError, match=r"callbackUrl\?access_token: is masked, and .* another scheme"):
        unmask(parse_subscription(shown), stored)
    options["callbackUrl"] = "https://example.com/?key=********"
    with pytest.raises(ConfigurationError, match=r"callbackUrl\?key: is masked, and no secret is stored there"):
        unmask(parse_subscription(shown), stored)


def test_a_url_with_secrets_of_any_allowed_length_can_be_stored() -> None:
    document = copy.deepcopy(DOCUMENT)
    document["configuration"]["callbackUrl"] = "https://h/?" + "&".join(f"key={number}" for number in range(900))
    box, plain = SecretBox([OLD]), parse_subscription(document)
    assert box.decrypt_secrets(parse_subscription(to_document(box.encrypt_secrets(plain)))) == plain
    document["configuration"]["callbackUrl"] = "https://h/?key=" + "k" * 8192
    with pytest.raises(ConfigurationError, match=r"callbackUrl: has 8207 characters; allowed: 1 to 8192"):
        parse_subscription(document)


@pytest.mark.parametrize("auth_type", ["oauth2", "jwtProfileOauth2"])
def test_the_url_of_a_token_endpoint_is_limited_in_length(auth_type: str) -> None:
    document = copy.deepcopy(DOCUMENT)
    long = "https://h/?" + "key=k&" * 1500
    blocks = {
        "oauth2": {"clientId": "c", "clientSecret": "s", "endpoint": long},
        "jwtProfileOauth2": {"issuer": "i", "subject": "s", "audience": "a", "keyContent": "k", "endpoint": long},
    }
    options = document["configuration"].get("entrypointConfiguration", document["configuration"])
    options["auth"] = {"type": auth_type, auth_type: blocks[auth_type]}
    with pytest.raises(ConfigurationError, match=rf"{auth_type}\.endpoint: has 9011 characters; allowed: 1 to 8192"):
        parse_subscription(document)
