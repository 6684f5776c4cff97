"""Reads the `security` block of a Kafka endpoint of an API definition into a `KafkaConnection`."""

import re
from pathlib import Path
from typing import Final, Literal, get_args

from pydantic import AliasChoices, Field

from pipeline.config.keystores.certificates import ClientCertificate, from_base64
from pipeline.config.keystores.opening import OpenHere, Store
from pipeline.config.schema import Secret, StrictModel
from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import shown
from pipeline.core.subscription import TlsOptions
from pipeline.kafka.connection import KafkaConnection, Mechanism

StoreType = Literal["", "NONE", "PEM", "PKCS12", "JKS"]

_JAAS_OPTION: Final = re.compile(r'\b(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))')
_JAAS_MODULES: Final = ("PlainLoginModule", "ScramLoginModule")


class TrustStore(StrictModel):
    """The authorities that the client trusts."""

    type: StoreType = "JKS"
    location: str | None = None
    content: Secret | None = None
    certificates: str | None = None
    password: Secret | None = None


class KeyStore(StrictModel):
    """The client's certificate and key."""

    type: StoreType = "JKS"
    location: str | None = None
    content: Secret | None = None
    password: Secret | None = None
    key: Secret | None = None
    key_password: Secret | None = None
    certificate_chain: str | None = None


class Ssl(StrictModel):
    """The trust store and the key store. Each name has two spellings in existing definitions."""

    trust_store: TrustStore | None = Field(None, validation_alias=AliasChoices("trustStore", "truststore"))
    key_store: KeyStore | None = Field(None, validation_alias=AliasChoices("keyStore", "keystore"))


class Sasl(StrictModel):
    """A SASL mechanism with a JAAS line, or with user name and password."""

    mechanism: str | None = Field(None, validation_alias=AliasChoices("mechanism", "saslMechanism"))
    jaas_config: Secret | None = Field(None, validation_alias=AliasChoices("jaasConfig", "saslJaasConfig"))
    username: str | None = None
    password: Secret | None = None


class Security(StrictModel):
    """The security protocol of a cluster, with credentials."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl: Sasl | None = None
    ssl: Ssl | None = None


def connection(bootstrap_servers: tuple[str, ...], security: Security | None, path: str) -> KafkaConnection:
    """The connection that an endpoint describes.

    Raises:
        ConfigurationError: a part is missing, can't be read, or is not supported; *path* is the path of the
            `security` block.
    """
    if security is None:
        return KafkaConnection(bootstrap_servers)
    mechanism, username, password = None, None, None
    if security.protocol.startswith("SASL_"):
        mechanism, username, password = _login(security.sasl or Sasl.model_validate({}), f"{path}.sasl")
    tls = None
    if security.protocol in {"SSL", "SASL_SSL"} and security.ssl is not None:
        tls = _tls(security.ssl, f"{path}.ssl")
    return KafkaConnection(bootstrap_servers, security.protocol, mechanism, username, password, tls)


def _login(sasl: Sasl, path: str) -> tuple[Mechanism, str, str]:
    mechanism = _mechanism(sasl.mechanism, f"{path}.mechanism")
    options = _jaas_options(sasl.jaas_config, f"{path}.jaasConfig") if sasl.jaas_config else {}
    username = sasl.username or options.get("username")
    password = sasl.password or options.get("password")
    if not username or not password:
        raise ConfigurationError(f"{path}: needs username and password, or a jaasConfig that contains both")
    return mechanism, username, password


def _mechanism(name: str | None, path: str) -> Mechanism:
    allowed = get_args(Mechanism)
    if name is None:
        raise ConfigurationError(f"{path}: is required; allowed: {', '.join(allowed)}")
    wanted = name.upper().replace("_", "-")
    for mechanism in allowed:
        if mechanism == wanted:
            found: Mechanism = mechanism
            return found
    raise ConfigurationError(f"{path}: {shown(name)} is not supported yet; allowed: {', '.join(allowed)}")


def _jaas_options(line: str, path: str) -> dict[str, str]:
    module = line.split(maxsplit=1)[0] if line.strip() else ""
    if not module.endswith(_JAAS_MODULES):
        raise ConfigurationError(f"{path}: must begin with one of the login modules {', '.join(_JAAS_MODULES)}")
    found = _JAAS_OPTION.findall(line)
    return {name: re.sub(r"\\(.)", r"\1", quoted) if quoted else bare for name, quoted, bare in found}


def _tls(block: Ssl, path: str) -> TlsOptions:
    trusted = _trusted(block.trust_store, f"{path}.trustStore") if block.trust_store else None
    client = _client(block.key_store, f"{path}.keyStore") if block.key_store else None
    if client is None:
        return TlsOptions(trusted_pem=trusted)
    return TlsOptions(trusted_pem=trusted, client_certificate_pem=client.certificate_pem, client_key_pem=client.key_pem)


def _trusted(store: TrustStore, path: str) -> str | None:
    match store.type:
        case "" | "NONE":
            return None
        case "PEM":
            text = (store.certificates or store.content or "").encode() or _read(store.location, f"{path}.location")
            return OpenHere().trusted(Store("PEM", f"{path}.certificates", text))
        case kind:
            return OpenHere().trusted(Store(kind, f"{path}.location", _store_bytes(store, path), store.password))


def _client(store: KeyStore, path: str) -> ClientCertificate | None:
    match store.type:
        case "" | "NONE":
            return None
        case "PEM":
            closed = _pem(store, path)
        case kind:
            data = _store_bytes(store, path)
            closed = Store(kind, f"{path}.location", data, store.password, key_password=store.key_password)
    return OpenHere().client(closed)


def _pem(store: KeyStore, path: str) -> Store:
    whole = (store.content or "").encode()
    if not whole and store.location:
        whole = _read(store.location, f"{path}.location")
    chain, key = (store.certificate_chain or "").encode() or whole, (store.key or "").encode() or whole
    if not chain or not key:
        raise ConfigurationError(f"{path}: needs certificateChain and key, or a location that contains both")
    return Store(
        "PEM", f"{path}.certificateChain", chain, key=key, key_path=f"{path}.key", key_password=store.key_password
    )


def _store_bytes(store: TrustStore | KeyStore, path: str) -> bytes:
    if store.content:
        return from_base64(store.content, f"{path}.content")
    return _read(store.location, f"{path}.location")


def _read(location: str | None, path: str) -> bytes:
    if not location:
        raise ConfigurationError(f"{path}: is required, unless the store itself is given")
    try:
        return Path(location).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: {shown(location)} can't be read: {error.strerror}") from None
