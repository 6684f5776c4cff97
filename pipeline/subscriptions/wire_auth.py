"""The wire models of the `auth` block: how the callback is told who is calling."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.model_fields import SecretMark
from pipeline.subscriptions.checks import check_url, has_controls
from pipeline.wire import Name, Secret, StrictModel, problem


class Basic(StrictModel):
    """User name and password (RFC 7617)."""

    username: Name
    password: Secret

    @field_validator("username")
    @classmethod
    def _has_no_colon(cls, username: str) -> str:
        if ":" in username or has_controls(username):
            raise problem("must not hold a colon or control characters (RFC 7617)")
        return username


class Token(StrictModel):
    """A bearer token (RFC 6750)."""

    value: Secret


class OAuth2(StrictModel):
    """Client credentials (RFC 6749 section 4.4)."""

    endpoint: Name
    client_id: Name
    client_secret: Secret
    scopes: list[Name] | None = None
    client_auth_method: Literal["client_secret_post", "client_secret_basic"] = "client_secret_post"

    @field_validator("endpoint")
    @classmethod
    def _is_url(cls, url: str) -> str:
        return check_url(url, "clientId and clientSecret")


class Auth(StrictModel):
    """How the callback is told who is calling; the block that `type` names."""

    type: Literal["none", "basic", "token", "oauth2", "jwtProfileOauth2"] = "none"
    basic: Basic | None = None
    token: Token | None = None
    oauth2: OAuth2 | None = Field(None, alias="oauth2")
    jwt_profile_oauth2: Annotated[dict[str, Any] | None, SecretMark()] = Field(None, alias="jwtProfileOauth2")

    @model_validator(mode="after")
    def _holds_what_type_names(self) -> "Auth":
        blocks = {
            "basic": self.basic,
            "token": self.token,
            "oauth2": self.oauth2,
            "jwtProfileOauth2": self.jwt_profile_oauth2,
        }
        if self.type == "jwtProfileOauth2":
            raise problem("jwtProfileOauth2 is not supported yet; allowed: none, basic, token, oauth2", "type")
        for name, block in blocks.items():
            if name == self.type and block is None:
                raise problem(f"is required when type is {self.type}", name)
            if name != self.type and block is not None:
                raise problem(f"has no use when type is {self.type}; remove it, or set type to {name}", name)
        return self
