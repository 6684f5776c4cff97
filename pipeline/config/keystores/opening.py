"""A key store by its type, wherever it comes from: the API definition, a subscription's `ssl` or its assertions."""

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
    """A store that is still closed.

    Attributes:
        path: of the field that holds it, for errors.
        data: the store; of PEM the certificates, or nothing where a key alone is wanted.
        password: of the store.
        key: of PEM, which keeps it apart.
        key_path: of its field.
        key_password: of the key; the store's where there is none.
        unlocked_by: the field of the key's password, for errors.
        alias: of the key, without regard to case; the first key where there is none.
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
    """Opens stores. Blocks meanwhile."""

    def trusted(self, store: Store) -> str:
        """The certificates of a trust store, as PEM.

        Raises:
            ConfigurationError: it can't be read, takes too much work to open, holds none, or the password is wrong;
                names the field, never what it holds.
        """
        ...

    def client(self, store: Store) -> ClientCertificate:
        """A key with its certificate chain. Raises as `trusted`; also if there is no such key."""
        ...

    def key(self, store: Store) -> str:
        """The private key of a PEM text, without its password. Raises as `trusted`."""
        ...


class OpenHere:
    """Opens stores in this process: the operator's own, and any store in the process that does nothing else.

    The library that derives their keys holds the interpreter, and cost.py sees only what is not encrypted itself.
    """

    def trusted(self, store: Store) -> str:
        """As `Opener` says."""
        match store.type:
            case "PEM":
                return trusted_from_pem(_text(store.data), store.path)
            case "PKCS12":
                return trusted_from_pkcs12(store.data, store.password, store.path)
            case "JKS":
                return trusted_from_jks(store.data, store.password or "", store.path)

    def client(self, store: Store) -> ClientCertificate:
        """As `Opener` says."""
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
        """As `Opener` says."""
        return key_from_pem(_text(store.key), store.key_password, store.key_path, store.unlocked_by)


def _text(data: bytes) -> str:
    # What counts in PEM is ASCII; whatever stands around it may be of any encoding.
    return data.decode("latin-1")
