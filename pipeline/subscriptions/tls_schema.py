"""The wire models of the `ssl` block: trusted authorities and the client certificate."""

from typing import Literal

from pipeline.config.schema import Name, Secret, StrictModel

StoreType = Literal["", "NONE", "PEM", "PKCS12", "JKS"]


class TrustStore(StrictModel):
    """Trusted authorities in addition to the well-known ones.

    The content is PEM text, or a PKCS12 or JKS store in base64. The path names a file in WEBHOOKS_KEY_STORE_DIR.
    """

    type: StoreType = ""
    path: Name | None = None
    content: Secret | None = None
    password: Secret | None = None


class KeyStore(StrictModel):
    """The client's certificate and key.

    PEM needs certContent or certPath, and keyContent or keyPath. PKCS12 and JKS need content (base64) or path, and
    password.
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
    """How the receiver's certificate is verified, and which client certificate the pipeline presents."""

    hostname_verifier: bool = True
    trust_all: bool = False
    trust_store: TrustStore | None = None
    key_store: KeyStore | None = None
