"""The wire models of the `ssl` block: whom to trust, and which certificate to show."""

from typing import Literal

from pipeline.config.schema import Name, Secret, StrictModel

StoreType = Literal["", "NONE", "PEM", "PKCS12", "JKS"]


class TrustStore(StrictModel):
    """Whom to trust besides the well-known authorities.

    Content: PEM text, PKCS12 or JKS as base64; or the path of such a file in WEBHOOKS_KEY_STORE_DIR.
    """

    type: StoreType = ""
    path: Name | None = None
    content: Secret | None = None
    password: Secret | None = None


class KeyStore(StrictModel):
    """The client's certificate and key.

    PEM: certContent or certPath, and keyContent or keyPath; PKCS12 and JKS: content as base64 or path, and password.
    """

    type: StoreType = ""
    path: Name | None = None
    content: Secret | None = None
    password: Secret | None = None
    alias: str | None = None
    key_password: Secret | None = None
    cert_path: Name | None = None
    cert_content: Secret | None = None
    key_path: Name | None = None
    key_content: Secret | None = None


class Ssl(StrictModel):
    """How the receiver's certificate is judged, and which one is shown to it."""

    hostname_verifier: bool = True
    trust_all: bool = False
    trust_store: TrustStore | None = None
    key_store: KeyStore | None = None
