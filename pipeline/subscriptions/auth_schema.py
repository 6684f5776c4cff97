"""The wire models of the `auth` block: how the pipeline authenticates to the callback."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.auth.assertion import OWN_CLAIMS
from pipeline.config.model_fields import UrlMark
from pipeline.config.schema import Name, Secret, StrictModel, problem
from pipeline.core.shown import shown
from pipeline.subscriptions.fields import check_url, has_controls


class Basic(StrictModel):
    """User name and password (RFC 7617)."""

    username: Name
    password: Secret

    @field_validator("username")
    @classmethod
    def _has_no_colon(cls, username: str) -> str:
        if ":" in username or has_controls(username):
            raise problem("must not contain a colon or control characters (RFC 7617)")
        return username


class Token(StrictModel):
    """A bearer token (RFC 6750)."""

    value: Secret


class OAuth2(StrictModel):
    """Client credentials (RFC 6749 section 4.4)."""

    endpoint: Annotated[Name, UrlMark()]
    client_id: Name
    client_secret: Secret
    scopes: list[Name] | None = None
    client_auth_method: Literal["client_secret_post", "client_secret_basic"] = "client_secret_post"

    @field_validator("endpoint")
    @classmethod
    def _is_url(cls, url: str) -> str:
        return check_url(url, "clientId and clientSecret")


class CustomClaim(StrictModel):
    """An additional claim of an assertion."""

    name: Name
    value: str


class KeystoreOptions(StrictModel):
    """The alias and the passwords of a key in a store."""

    alias: str | None = None
    store_password: Secret | None = None
    key_password: Secret | None = None


class JwtProfileOAuth2(StrictModel):
    """Client credentials with a signed assertion (RFC 7523 section 2.2).

    Gravitee has no `endpoint` and no `scopes`: it uses the audience as the token endpoint.
    """

    issuer: Name
    subject: Name
    audience: Annotated[Name, UrlMark()]
    endpoint: Annotated[Name, UrlMark()] | None = None
    scopes: list[Name] | None = None
    expiration_time: Annotated[int, Field(ge=1, le=31_536_000)] = 30
    expiration_time_unit: Literal["SECONDS", "MINUTES", "HOURS", "DAYS"] = "SECONDS"
    signature_algorithm: Literal["RSA_RS256", "HMAC_HS256", "HMAC_HS384", "HMAC_HS512"] = "RSA_RS256"
    key_source: Literal["INLINE", "PEM", "JKS", "PKCS12"] = "INLINE"
    key_content: Secret
    key_id: str | None = None
    jwt_id: str | None = None
    secret_base64_encoded: bool = Field(default=False, alias="secretBase64Encoded")
    x509_cert_chain: Literal["NONE", "X5C"] = Field("NONE", alias="x509CertChain")
    keystore_options: KeystoreOptions | None = None
    custom_claims: Annotated[list[CustomClaim], Field(max_length=100)] | None = None

    @field_validator("endpoint")
    @classmethod
    def _is_url(cls, url: str | None) -> str | None:
        return None if url is None else check_url(url, "keyContent")

    @field_validator("custom_claims")
    @classmethod
    def _are_unreserved_and_unique(cls, claims: list[CustomClaim] | None) -> list[CustomClaim] | None:
        names = [claim.name for claim in claims or ()]
        for name in names:
            if name in OWN_CLAIMS:
                raise problem(f"{shown(name)} has its own field")
            if names.count(name) > 1:
                raise problem(f"{shown(name)} is given twice")
        return claims

    @model_validator(mode="after")
    def _has_an_endpoint(self) -> "JwtProfileOAuth2":
        if self.endpoint is None:
            try:
                check_url(self.audience, "keyContent")
            except PydanticCustomError:
                raise problem("is required if the audience is not the URL of a token endpoint", "endpoint") from None
        return self


class Auth(StrictModel):
    """How the pipeline authenticates to the callback; `type` names the block that applies."""

    type: Literal["none", "basic", "token", "oauth2", "jwtProfileOauth2"] = "none"
    basic: Basic | None = None
    token: Token | None = None
    oauth2: OAuth2 | None = Field(None, alias="oauth2")
    jwt_profile_oauth2: JwtProfileOAuth2 | None = Field(None, alias="jwtProfileOauth2")

    @model_validator(mode="after")
    def _holds_what_type_names(self) -> "Auth":
        for field, about in type(self).model_fields.items():
            name, block = about.alias or field, getattr(self, field)
            if field == "type":
                continue
            if name == self.type and block is None:
                raise problem(f"is required when type is {self.type}", name)
            if name != self.type and block is not None:
                raise problem(f"is not used when type is {self.type}; remove it, or set type to {name}", name)
        return self
