"""The wire models of the `ssl` block: whom to trust, and which certificate to show."""

from typing import Literal

from pydantic import model_validator

from pipeline.wire import Secret, StrictModel, problem

StoreType = Literal["", "NONE", "PEM", "PKCS12", "JKS"]


class _Store(StrictModel):
    """What the stores have in common. JKS, and files of the worker's machine, are refused in words."""

    type: StoreType = ""

    @model_validator(mode="after")
    def _is_supported(self) -> "_Store":
        if self.type == "JKS":
            raise problem(
                "JKS is not supported yet; convert the store to PKCS12 (keytool -importkeystore) or PEM", "type"
            )
        for name in ("path", "cert_path", "key_path"):
            if getattr(self, name, None):
                alias = type(self).model_fields[name].alias
                raise problem("is not supported yet; put the store itself into content", alias)
        return self


class TrustStore(_Store):
    """Whom to trust besides the well-known authorities. Content: PEM text, or PKCS12 as base64."""

    path: str | None = None
    content: Secret | None = None
    password: Secret | None = None


class KeyStore(_Store):
    """The client's certificate and key. PEM: certContent and keyContent; PKCS12: content as base64, and password."""

    path: str | None = None
    content: Secret | None = None
    password: Secret | None = None
    alias: str | None = None
    key_password: Secret | None = None
    cert_path: str | None = None
    cert_content: Secret | None = None
    key_path: str | None = None
    key_content: Secret | None = None


class Ssl(StrictModel):
    """How the receiver's certificate is judged, and which one is shown to it."""

    hostname_verifier: bool = True
    trust_all: bool = False
    trust_store: TrustStore | None = None
    key_store: KeyStore | None = None
