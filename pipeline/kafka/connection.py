"""How to connect to a Kafka cluster. Every client takes its options from this value."""

import re
import ssl
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import shown
from pipeline.core.subscription import TlsOptions
from pipeline.http.tls import show_certificate

if TYPE_CHECKING:
    from faust.types.auth import CredentialsArg

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]

_SERVER = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
_LAST_PORT = 65535


@dataclass(frozen=True)
class KafkaConnection:
    """A cluster and the credentials for it.

    Attributes:
        bootstrap_servers: `host:port` of one or more brokers.
        mechanism: the SASL mechanism; None without SASL.
        tls: trusted certificates and the client's own, for SSL and SASL_SSL; None for the system's certificates.
        embedded: librdkafka's in-memory cluster. It has no transactions, no topic creation and no topic configuration,
            describes no groups, finds no offset for a time, and its control records carry a wrong CRC. The definition
            of `webhooks dev` marks its brokers with `embedded://`.
    """

    bootstrap_servers: tuple[str, ...]
    protocol: Protocol = "PLAINTEXT"
    mechanism: Mechanism | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: TlsOptions | None = None
    embedded: bool = False

    @property
    def uses_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.protocol in {"SSL", "SASL_SSL"}

    @cached_property  # reading the system's certificates takes 20 ms; a worker makes dozens of clients
    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS context; None without TLS. Read this property at start-up, because the first access reads files.

        Raises:
            ConfigurationError: OpenSSL refuses the client's certificate or key.
        """
        if not self.uses_tls:
            return None
        tls = self.tls or TlsOptions()
        context = ssl.create_default_context(cadata=tls.trusted_pem)
        if tls.client_certificate_pem and tls.client_key_pem:
            try:
                show_certificate(context, tls.client_certificate_pem, tls.client_key_pem)
            except (ssl.SSLError, ValueError) as error:
                reason = getattr(error, "reason", None) or error
                raise ConfigurationError(f"security.ssl.keyStore: refused by OpenSSL: {reason}") from None
        close_promptly(context)
        return context

    def client_options(self) -> dict[str, Any]:
        """The keyword arguments of every aiokafka client of this cluster."""
        options: dict[str, Any] = {
            "bootstrap_servers": list(self.bootstrap_servers),
            "security_protocol": self.protocol,
        }
        if self.uses_tls:
            options["ssl_context"] = self.ssl_context
        if self.mechanism is not None:
            options["sasl_mechanism"] = self.mechanism
            options["sasl_plain_username"] = self.username
            options["sasl_plain_password"] = self.password
        return options

    def consumer_options(self) -> dict[str, Any]:
        """The keyword arguments of every consumer of this cluster. Offsets are committed only explicitly."""
        return {**self.client_options(), "enable_auto_commit": False, "check_crcs": not self.embedded}

    def faust_broker(self) -> list[str]:
        """The value of `faust.App(broker=...)`."""
        return [f"kafka://{server}" for server in self.bootstrap_servers]

    def faust_credentials(self) -> "CredentialsArg | None":
        """The value of `faust.App(broker_credentials=...)`."""
        if self.mechanism is None:
            return self.ssl_context
        from faust import SASLCredentials  # noqa: PLC0415  # commands without a worker don't load Faust

        return SASLCredentials(
            username=self.username, password=self.password, ssl_context=self.ssl_context, mechanism=self.mechanism
        )


class PromptSSLObject(ssl.SSLObject):
    """Sends `close_notify` without waiting for the peer's (RFC 8446 section 6.1).

    Both asyncio and uvloop wait for the peer's notice, which a broker does not send: usually half a second, but if
    uvloop misses the end of the connection, 30 seconds (`ssl_shutdown_timeout`). aiokafka's `stop()` waits as long.
    """

    def unwrap(self) -> None:
        """End TLS. The notice is in the outgoing buffer when this method returns."""
        try:
            super().unwrap()
        except ssl.SSLWantReadError:
            return


def close_promptly(context: ssl.SSLContext) -> None:
    """Let all new TLS connections of asyncio and uvloop that use *context* close without waiting for the peer."""
    context.sslobject_class = PromptSSLObject


def parse_bootstrap_servers(text: str, path: str) -> tuple[str, ...]:
    """The brokers of a comma-separated list.

    Args:
        text: one or more `host:port`; blanks around them are ignored.
        path: the path of the field, for errors.

    Raises:
        ConfigurationError: the list is empty, or an entry is not host:port.
    """
    servers = tuple(server.strip() for server in text.split(",") if server.strip())
    if not servers:
        raise ConfigurationError(f"{path}: must name at least one broker as host:port")
    problems = [
        f"{path}: {shown(server)} is not a broker; allowed: host:port, several separated by commas"
        for server in servers
        if not _is_server(server)
    ]
    if problems:
        raise ConfigurationError(problems)
    return servers


def _is_server(text: str) -> bool:
    match = _SERVER.fullmatch(text)
    return match is not None and 0 < int(match["port"]) <= _LAST_PORT
