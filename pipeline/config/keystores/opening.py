"""Opens key stores of any type, from the API definition or the `ssl` and `auth` blocks of subscriptions."""

from dataclasses import dataclass, field
from typing import Literal, Protocol

from pipeline.config.keystores.certificates import (
    ClientCertificate,
    client_from_jks,
    client_from_pem,
    client_from_pkcs12,
    key_from_pem,
    trusted_from_jks,
    trusted_from_pem,
    trusted_from_pkcs12,
)

StoreType = Literal["PEM", "PKCS12", "JKS"]


@dataclass(frozen=True, slots=True)
class Store:
    """An unopened store.

    Attributes:
        path: the path of the field that has the store, for errors.
        data: the store; for PEM the certificates, or empty if only a key is needed.
        key: the private key as PEM; only used if the certificates are PEM.
        key_path: the path of the field that has the key.
        key_password: the password of the key; None: the store's password.
        unlocked_by: the field that has the key's password, for errors.
        alias: the alias of the key, case-insensitive; None: the first key.
    """

    type: StoreType
    path: str
    data: bytes = field(default=b"", repr=False)
    password: str | None = field(default=None, repr=False)
    key: bytes = field(default=b"", repr=False)
    key_path: str = ""
    key_password: str | None = field(default=None, repr=False)
    unlocked_by: str = "keyPassword"
    alias: str | None = None


class Opener(Protocol):
    """Opens stores. The methods block."""

    def trusted(self, store: Store) -> str:
        """The certificates of a trust store, as PEM.

        Raises:
            ConfigurationError: the store can't be read, takes too much work to open, or contains no certificate; or the
                password is wrong. Names the field, never its content.
        """

    def client(self, store: Store) -> ClientCertificate:
        """A key with its certificate chain. Raises the errors of `trusted`, also if there is no such key."""

    def key(self, store: Store) -> str:
        """The private key in a PEM text, unencrypted. Raises the errors of `trusted`."""


class OpenHere:
    """Opens stores in this process. A worker uses it only for the operator's stores.

    Stores of subscriptions are opened in the separate process (process.py), which uses this class, too. The library
    that derives the keys holds the interpreter lock, and cost.py can't read costs that are encrypted.
    """

    def trusted(self, store: Store) -> str:
        """See `Opener`."""
        match store.type:
            case "PEM":
                return trusted_from_pem(_text(store.data), store.path)
            case "PKCS12":
                return trusted_from_pkcs12(store.data, store.password, store.path)
            case "JKS":
                return trusted_from_jks(store.data, store.password or "", store.path)

    def client(self, store: Store) -> ClientCertificate:
        """See `Opener`."""
        match store.type:
            case "PEM":
                return client_from_pem(
                    _text(store.data), _text(store.key), store.key_password, store.path, store.key_path
                )
            case "PKCS12":
                return client_from_pkcs12(store.data, store.password, store.path, store.alias)
            case "JKS":
                return client_from_jks(
                    store.data,
                    store.password or "",
                    store.path,
                    key_password=store.key_password,
                    alias=store.alias,
                )

    def key(self, store: Store) -> str:
        """See `Opener`."""
        return key_from_pem(_text(store.key), store.key_password, store.key_path, store.unlocked_by)


def _text(data: bytes) -> str:
    # The PEM blocks are ASCII; text around them may have any encoding.
    return data.decode("latin-1")
