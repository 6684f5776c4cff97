"""Turns the `ssl` block of a subscription into TLS options: stores of every type become PEM."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.config.keystores.certificates import ClientCertificate, from_base64
from pipeline.config.keystores.files import read_key_file
from pipeline.config.keystores.opening import Opener, Store
from pipeline.core.errors import ConfigurationError
from pipeline.core.subscription import TlsOptions
from pipeline.subscriptions.tls_schema import KeyStore, Ssl, TrustStore


def tls_options(ssl: Ssl | None, path: str, folder: Path | None, opener: Opener) -> TlsOptions:
    """The TLS options of a subscription.

    Args:
        ssl: the block, decrypted.
        path: the block's path, for errors.
        folder: the directory of key stores that a subscription may name by path.
        opener: opens key stores.

    Raises:
        ConfigurationError: a store can't be read; names the field, never the content.
    """
    if ssl is None:
        return TlsOptions()
    client = _client(ssl.key_store, f"{path}.keyStore", folder, opener)
    return TlsOptions(
        verify_hostname=ssl.hostname_verifier,
        trust_all=ssl.trust_all,
        trusted_pem=_trusted(ssl.trust_store, f"{path}.trustStore", folder, opener),
        client_certificate_pem=None if client is None else client.certificate_pem,
        client_key_pem=None if client is None else client.key_pem,
    )


@dataclass(frozen=True, slots=True)
class _Source:
    """Where one part of a store comes from.

    Attributes:
        content: the part itself, if the subscription contains it.
        file: the path of the file that contains it.
        field, file_field: the names of the two fields, for errors.
    """

    content: str | None
    file: str | None
    field: str
    file_field: str

    def text(self, folder: Path | None) -> bytes:
        """The part as PEM text."""
        if self._is_file:
            return read_key_file(folder, self.file or "", self.file_field)
        return (self.content or "").encode(errors="surrogatepass")

    def data(self, folder: Path | None) -> bytes:
        """The part as the bytes of a binary store."""
        if self._is_file:
            return read_key_file(folder, self.file or "", self.file_field)
        return from_base64(self.content or "", self.field)

    @property
    def _is_file(self) -> bool:
        if self.content is not None and self.file is not None:
            raise ConfigurationError(
                f"{self.file_field}: can't be set together with {self.field.rpartition('.')[2]}; remove one"
            )
        if self.content is None and self.file is None:
            raise ConfigurationError(f"{self.field}: is required for this type of store, unless the path is set")
        return self.content is None


def _trusted(store: TrustStore | None, path: str, folder: Path | None, opener: Opener) -> str | None:
    if store is None:
        return None
    source = _Source(store.content, store.path, f"{path}.content", f"{path}.path")
    match store.type:
        case "" | "NONE":
            return None
        case "PEM":
            return opener.trusted(Store("PEM", source.field, source.text(folder)))
        case kind:
            return opener.trusted(Store(kind, source.field, source.data(folder), _password(store.password, path)))


def _client(store: KeyStore | None, path: str, folder: Path | None, opener: Opener) -> ClientCertificate | None:
    if store is None:
        return None
    match store.type:
        case "" | "NONE":
            return None
        case "PEM":
            return opener.client(_pem(store, path, folder))
        case kind:
            source = _Source(store.content, store.path, f"{path}.content", f"{path}.path")
            password = _password(store.password, path) if kind == "JKS" else store.password
            closed = Store(
                kind,
                source.field,
                source.data(folder),
                password,
                key_password=store.key_password,
                alias=store.alias,
            )
            return opener.client(closed)


def _pem(store: KeyStore, path: str, folder: Path | None) -> Store:
    certificate = _Source(store.cert_content, store.cert_path, f"{path}.certContent", f"{path}.certPath")
    key = _Source(store.key_content, store.key_path, f"{path}.keyContent", f"{path}.keyPath")
    return Store(
        "PEM",
        certificate.field,
        certificate.text(folder),
        key=key.text(folder),
        key_path=key.field,
        key_password=store.key_password,
    )


def _password(password: str | None, path: str) -> str:
    if password is None:
        raise ConfigurationError(f"{path}.password: is required for this type of store")
    return password
