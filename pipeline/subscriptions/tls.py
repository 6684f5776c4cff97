"""The `ssl` block of a subscription: stores of either kind become plain PEM."""

from pipeline.certificates import (
    client_from_pem,
    client_from_pkcs12,
    from_base64,
    trusted_from_pem,
    trusted_from_pkcs12,
)
from pipeline.errors import ConfigurationError
from pipeline.model import TlsOptions
from pipeline.subscriptions.wire_tls import KeyStore, Ssl, TrustStore


def tls_options(ssl: Ssl | None, path: str) -> TlsOptions:
    """The TLS options of a subscription.

    Args:
        ssl: decrypted.
        path: of the block, for errors.

    Raises:
        ConfigurationError: a store can't be read; names the field, never what it holds.
    """
    if ssl is None:
        return TlsOptions()
    certificate, key = _client(ssl.key_store, f"{path}.keyStore")
    return TlsOptions(
        verify_hostname=ssl.hostname_verifier,
        trust_all=ssl.trust_all,
        trusted_pem=_trusted(ssl.trust_store, f"{path}.trustStore"),
        client_certificate_pem=certificate,
        client_key_pem=key,
    )


def _trusted(store: TrustStore | None, path: str) -> str | None:
    if store is None or store.type in {"", "NONE"}:
        return None
    content = _needed(store.content, f"{path}.content")
    if store.type == "PEM":
        return trusted_from_pem(content, f"{path}.content")
    password = _needed(store.password, f"{path}.password")
    return trusted_from_pkcs12(from_base64(content, f"{path}.content"), password, f"{path}.content")


def _client(store: KeyStore | None, path: str) -> tuple[str | None, str | None]:
    if store is None or store.type in {"", "NONE"}:
        return None, None
    if store.type == "PEM":
        certificate, key = f"{path}.certContent", f"{path}.keyContent"
        client = client_from_pem(
            _needed(store.cert_content, certificate),
            _needed(store.key_content, key),
            store.key_password,
            certificate,
            key,
        )
    else:
        content = from_base64(_needed(store.content, f"{path}.content"), f"{path}.content")
        client = client_from_pkcs12(content, store.password, f"{path}.content", store.alias)
    return client.certificate_pem, client.key_pem


def _needed(value: str | None, path: str) -> str:
    if value is None:
        raise ConfigurationError(f"{path}: is required for this type of store")
    return value
