"""Turns the `auth` block of a subscription into the credentials of the delivery path."""

from pathlib import Path

from pipeline.config.keystores.opening import Opener
from pipeline.core.errors import ConfigurationError
from pipeline.core.subscription import Auth, BasicAuth, NoAuth, OAuth2Auth, TokenAuth
from pipeline.subscriptions import auth_schema as wire
from pipeline.subscriptions.fields import has_controls
from pipeline.subscriptions.jwt_profile import jwt_profile


def auth_of(auth: wire.Auth | None, path: str, folder: Path | None, opener: Opener) -> Auth:
    """The credentials of a subscription.

    Args:
        auth: the block, decrypted.
        path: the block's path, for errors.
        folder: the directory of key stores that a subscription may name by path.
        opener: opens key stores.

    Raises:
        ConfigurationError: a value can't be used; names the field, never a secret.
    """
    if auth is None or auth.type == "none":
        return NoAuth()
    if auth.basic is not None:
        if has_controls(auth.basic.password):
            raise ConfigurationError(f"{path}.basic.password: must not contain control characters")
        return BasicAuth(auth.basic.username, auth.basic.password)
    if auth.token is not None:
        value = auth.token.value
        if not value.isascii() or " " in value or has_controls(value):
            raise ConfigurationError(f"{path}.token.value: must be ASCII without spaces; Bearer is added automatically")
        return TokenAuth(value)
    if auth.oauth2 is not None:
        oauth2 = auth.oauth2
        return OAuth2Auth(
            oauth2.endpoint,
            oauth2.client_id,
            oauth2.client_secret,
            tuple(oauth2.scopes or ()),
            oauth2.client_auth_method,
        )
    if auth.jwt_profile_oauth2 is not None:
        return jwt_profile(auth.jwt_profile_oauth2, f"{path}.jwtProfileOauth2", folder, opener)
    raise RuntimeError(f"{path}: is not used with type {auth.type}")
