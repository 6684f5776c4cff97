"""`Authorization` for auth types whose header never changes: computed once per subscription. Pure."""

import base64
import re
from typing import Final

from pipeline.core.errors import ConfigurationError
from pipeline.core.subscription import Auth, BasicAuth, JwtProfileAuth, NoAuth, OAuth2Auth, TokenAuth

# RFC 6750's b64token allows fewer characters, but not every issuer keeps to it. No character that could end the line is
# allowed.
_BEARER_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def static_authorization(auth: Auth) -> str | None:
    """The value of `Authorization` for *auth*; None without credentials, or if the value changes (OAuth 2.0).

    Raises:
        ConfigurationError: the credentials are not a valid header value; the error does not show them.
    """
    match auth:
        case BasicAuth(username, password):
            return basic_authorization(username, password)
        case TokenAuth(value):
            return bearer_authorization(value)
        case NoAuth() | OAuth2Auth() | JwtProfileAuth():
            return None


def basic_authorization(username: str, password: str, path: str = "auth.basic") -> str:
    """Basic credentials in UTF-8 (RFC 7617 section 2.1).

    Raises:
        ConfigurationError: the user name contains a colon, or the user name or the password a control character.
    """
    if ":" in username:
        raise ConfigurationError(f"{path}.username: must not contain a colon (RFC 7617 section 2)")
    for name, text in (("username", username), ("password", password)):
        if _CONTROL.search(text):
            raise ConfigurationError(f"{path}.{name}: must not contain control characters (RFC 7617 section 2)")
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode("ascii")


def is_bearer_token(text: str) -> bool:
    """Whether *text* may follow `Bearer `: one or more visible ASCII characters."""
    return _BEARER_TOKEN.fullmatch(text) is not None


def bearer_authorization(token: str) -> str:
    """A bearer token (RFC 6750 section 2.1).

    Raises:
        ConfigurationError: the token is empty, or contains something other than visible ASCII.
    """
    if not is_bearer_token(token):
        raise ConfigurationError("auth.token.value: must be visible ASCII characters without spaces")
    return f"Bearer {token}"
