"""Encrypts secrets in the topic, and masks them wherever a subscription is shown.

A secret becomes `enc:v2:` and a ciphertext in URL-safe base64, which is bound to its subscription and field
(core/encryption.py). Earlier versions wrote `enc:v1:` and a Fernet token, which is not bound but can still be read. The
first key encrypts, every key decrypts. To rotate keys, put a new key first, and remove the old one when no secret is
encrypted with it.
"""

import base64
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from pipeline.config.model_fields import alias
from pipeline.config.schema import StrictModel
from pipeline.core.credentials import ValueChange, change_query_credentials
from pipeline.core.encryption import Cipher
from pipeline.core.errors import ConfigurationError
from pipeline.core.redaction import MASKED_FIELD
from pipeline.subscriptions.auth_schema import Auth
from pipeline.subscriptions.fields import ENCRYPTED
from pipeline.subscriptions.schema import OPTIONS, WireHeader, WireSubscription

PREFIX: Final = f"{ENCRYPTED}v2:"
UNBOUND_PREFIX: Final = f"{ENCRYPTED}v1:"
_ROW_PREFIX: Final = b"v2:"
_UNDECRYPTABLE: Final = (
    "can't be decrypted: no key in WEBHOOKS_SECRET_KEYS fits, or the secret was copied from another place"
)

Part = TypeVar("Part", bound=StrictModel)


class SecretBox:
    """Encrypts and decrypts with the keys of SECRET_KEYS.

    Args:
        keys: Fernet keys; the first one encrypts.

    Raises:
        ConfigurationError: there is no key, or one of them is not a Fernet key.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys:
            raise ConfigurationError("SECRET_KEYS: must contain at least one Fernet key")
        try:
            self._cipher = Cipher(keys)
        except ValueError:
            problem = "SECRET_KEYS: contains something that is not a Fernet key (32 bytes in URL-safe base64)"
        else:
            return
        raise ConfigurationError(problem)

    def encrypt(self, data: bytes, context: bytes) -> bytes:
        """*data*, encrypted with the first key and bound to *context*."""
        return _ROW_PREFIX + self._cipher.encrypt(data, context)

    def decrypt(self, token: bytes, context: bytes) -> bytes:
        """The inverse of `encrypt`, with any of the keys. Also decrypts the tokens of earlier versions.

        Raises:
            ConfigurationError: no key fits, the token is damaged, or it belongs to another context.
        """
        try:
            if token.startswith(_ROW_PREFIX):
                return self._cipher.decrypt(token.removeprefix(_ROW_PREFIX), context)
            return self._cipher.decrypt_fernet(token)
        except ValueError:
            raise ConfigurationError(_UNDECRYPTABLE) from None

    def encrypt_secrets(self, subscription: WireSubscription) -> WireSubscription:
        """The subscription with its secrets encrypted, for its record. The secrets must be plain."""

        def encrypted(path: str, value: str) -> str:
            token = self._cipher.encrypt(value.encode(), _context(subscription, path))
            return PREFIX + base64.urlsafe_b64encode(token).decode()

        return change_secrets(subscription, encrypted)

    def decrypt_secrets(self, subscription: WireSubscription) -> WireSubscription:
        """The subscription with its secrets decrypted. Plain secrets are unchanged.

        Raises:
            ConfigurationError: a secret can't be decrypted; names its field and the subscription.
        """

        def decrypted(path: str, value: str) -> str:
            try:
                if value.startswith(PREFIX):
                    token = _from_base64(value.removeprefix(PREFIX))
                    return self._cipher.decrypt(token, _context(subscription, path)).decode()
                if value.startswith(UNBOUND_PREFIX):
                    return self._cipher.decrypt_fernet(value.removeprefix(UNBOUND_PREFIX).encode()).decode()
            except ValueError:
                problem = f"{path}: the secret of {subscription.id!r} {_UNDECRYPTABLE}"
            else:
                return value
            raise ConfigurationError(problem)

        return change_secrets(subscription, decrypted)

    def is_newest(self, subscription: WireSubscription) -> bool:
        """Whether every secret of the subscription is encrypted as `encrypt_secrets` would encrypt it now.

        False if a secret is plain, encrypted with a key other than the first, or written by an earlier version.
        """
        return all(
            self._cipher.is_newest(
                _from_base64(value.removeprefix(PREFIX)) if value.startswith(PREFIX) else b"",
                _context(subscription, path),
            )
            for path, value in secrets_in(subscription)
        )


def _from_base64(text: str) -> bytes:
    """Decode URL-safe base64. Raises: ValueError, if *text* is not valid."""
    return base64.b64decode(text, altchars=b"-_", validate=True)


def _context(subscription: WireSubscription, path: str) -> bytes:
    """The encryption context of the secret at *path*. The separator is unambiguous: ids have no control characters."""
    return f"subscription\0{subscription.id}\0{path}".encode()


def is_undecryptable(problem: str | None) -> bool:
    """Whether *problem* says that a secret of the subscription can't be decrypted."""
    return problem is not None and _UNDECRYPTABLE in problem


def mask(subscription: WireSubscription) -> WireSubscription:
    """A subscription with every secret replaced by `MASKED_FIELD`, for users."""
    return change_secrets(subscription, lambda _path, _value: MASKED_FIELD)


def unmask(subscription: WireSubscription, stored: WireSubscription | None) -> WireSubscription:
    """A subscription with each `MASKED_FIELD` replaced by the stored secret.

    Args:
        subscription: the subscription to apply.
        stored: the current subscription, decrypted.

    Raises:
        ConfigurationError: there is no stored secret for a masked field; or the secret would be sent to another origin
            than before. Otherwise a user who may edit a subscription could read its secrets.
    """
    moved = () if stored is None else _moved(subscription, stored)
    known = {} if stored is None else dict(secrets_in(stored))

    def unmasked(path: str, value: str) -> str:
        if value != MASKED_FIELD:
            return value
        if path not in known:
            raise ConfigurationError(f"{path}: is masked, and no secret is stored there; write the secret itself")
        for secrets, url in moved:
            if path.startswith(secrets):
                raise ConfigurationError(
                    f"{path}: is masked, and {url} has another scheme, host or port; write the secret itself"
                )
        return known[path]

    return change_secrets(subscription, unmasked)


def _moved(wanted: WireSubscription, stored: WireSubscription) -> list[tuple[tuple[str, ...], str]]:
    """The secrets that would be sent to another origin, as pairs: the prefix of their paths, the field with the origin.

    Signing keys and key stores are never sent, so they can't leak in this way. Assertions and access tokens can: the
    other receiver could use them.
    """
    new, old = (each.configuration.entrypoint_configuration for each in (wanted, stored))
    moved: list[tuple[tuple[str, ...], str]] = []
    if _origin(new.callback_url) != _origin(old.callback_url):
        sent = ("headers", "auth", "callbackUrl?")
        moved.append((tuple(f"{OPTIONS}.{name}" for name in sent), f"{OPTIONS}.callbackUrl"))
    endpoint, former = _endpoint(new.auth), _endpoint(old.auth)
    if endpoint is not None and former is not None and _origin(endpoint[1]) != _origin(former[1]):
        moved.append(((f"{OPTIONS}.auth.oauth2", f"{OPTIONS}.auth.jwtProfileOauth2"), f"{OPTIONS}.auth.{endpoint[0]}"))
    return moved


def _endpoint(auth: Auth | None) -> tuple[str, str] | None:
    """The field that has the URL of the token endpoint, and the URL."""
    if auth is not None and auth.oauth2 is not None:
        return "oauth2.endpoint", auth.oauth2.endpoint
    if auth is not None and auth.jwt_profile_oauth2 is not None:
        profile = auth.jwt_profile_oauth2
        if profile.endpoint is None:
            return "jwtProfileOauth2.audience", profile.audience
        return "jwtProfileOauth2.endpoint", profile.endpoint
    return None


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port (RFC 6454 section 4)."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def secrets_in(subscription: WireSubscription) -> list[tuple[str, str]]:
    """The secrets with their paths. Two may have the same path, because a query may repeat a name."""
    found: list[tuple[str, str]] = []

    def note(path: str, value: str) -> str:
        found.append((path, value))
        return value

    change_secrets(subscription, note)
    return found


def change_secrets(model: Part, change: ValueChange, path: str = "") -> Part:
    """Apply *change* to every secret of *model*, at any depth. Returns *model* itself if nothing changes."""
    secret = model.secret_fields()
    update: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        is_url, is_secret = name in model.marked_url, name in secret
        if not (is_url or is_secret or name in model.holding):
            continue
        value = getattr(model, name)
        if value is None:
            continue
        # Names of fields need no quoting, unlike the names that `validation_messages.join` handles.
        field_path = f"{path}.{alias(name, field)}" if path else alias(name, field)
        if is_url and isinstance(value, str):
            changed: object = _changed_url(value, change, field_path)
        else:
            changed = _changed(value, change, field_path, is_secret=is_secret)
        if changed is not value:
            update[name] = changed
    return model.model_copy(update=update) if update else model


def _changed_url(url: str, change: ValueChange, path: str) -> str:
    """Apply *change* to the credentials in the query of *url*; their paths are `path?name`."""
    return change_query_credentials(url, lambda name, value: change(f"{path}?{name}", value))


def _changed(value: object, change: ValueChange, path: str, *, is_secret: bool) -> object:
    match value:
        case StrictModel():
            return change_secrets(value, change, path)
        case list():
            items = [
                _changed(item, change, f"{path}[{step}]", is_secret=is_secret)
                for item, step in zip(value, _steps(value), strict=True)
            ]
            return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
        case str() if is_secret:
            return change(path, value)
        case _:
            return value


def _steps(items: Sequence[object]) -> Iterator[object]:
    # Headers are matched by name: a header's index may have changed since its secret was stored.
    seen: Counter[str] = Counter()
    for number, item in enumerate(items):
        if isinstance(item, WireHeader):
            name = item.name.lower()
            seen[name] += 1
            yield name if seen[name] == 1 else f"{name} {seen[name]}"
        else:
            yield number
