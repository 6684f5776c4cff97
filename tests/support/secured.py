"""Finds the secured Kafka for tests: a listener with SASL, with or without TLS.

WEBHOOKS_TEST_KAFKA_SASL is a URL with everything that a client needs:

    sasl-ssl://USER:PASSWORD@HOST:PORT?ca=/path/to/ca.pem
    sasl-plaintext://USER:PASSWORD@HOST:PORT

User and password are percent-encoded. The user has all rights and can log in with each mechanism of `MECHANISMS`. In
CI, where the variable is required, `none` means that there is no such Kafka.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from tests.support.brokers import TestBroker
from tests.support.containers import absent, in_ci

VARIABLE: Final = "WEBHOOKS_TEST_KAFKA_SASL"
NONE: Final = "none"
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
# A scheme has no underscores (RFC 3986 section 3.1).
PROTOCOLS: Final = {"sasl-ssl": "SASL_SSL", "sasl-plaintext": "SASL_PLAINTEXT"}


@dataclass(frozen=True, slots=True)
class SecuredKafka:
    """A listener with SASL.

    Attributes:
        ca: the file of the authority's certificates, in PEM; None without TLS.
    """

    address: str
    protocol: str
    username: str
    password: str = field(repr=False)
    ca: str | None = None

    @property
    def has_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.protocol == "SASL_SSL"

    def broker(self, mechanism: str) -> TestBroker:
        """The listener as a broker to test against, with logins by *mechanism*."""
        return TestBroker(self.address, security=self.security(mechanism))

    def security(self, mechanism: str, *, password: str | None = None, ca: Path | None = None) -> dict[str, Any]:
        """The `security` block for the listener, by default with the right password and the right CA."""
        login = {"mechanism": mechanism, "username": self.username, "password": password or self.password}
        block: dict[str, Any] = {"protocol": self.protocol, "sasl": login}
        if self.has_tls:
            trusted = {"certificates": self.ca} if ca is None else {"location": str(ca)}
            block["ssl"] = {"trustStore": {"type": "PEM", **trusted}}
        return block


def secured_kafka(environ: Mapping[str, str] = os.environ) -> SecuredKafka:
    """The Kafka in the variable. With `none`, or without the variable, tests are skipped; in CI, it is required."""
    url = environ.get(VARIABLE, "")
    if url in {"", NONE}:
        sentence = f"no secured Kafka: set {VARIABLE}=sasl-ssl://user:password@host:port?ca=FILE"
        absent(sentence, expected=in_ci() and url != NONE)
    try:
        return parse(url)
    except (ValueError, OSError) as error:
        problem = f"{VARIABLE}: {error}"
    pytest.fail(problem, pytrace=False)


def parse(url: str) -> SecuredKafka:
    """The listener that a URL describes.

    Raises:
        ValueError: the URL does not have the form above; the message does not contain the URL.
        OSError: the file of the CA can't be read.
    """
    parts = urlsplit(url)
    ca = parse_qs(parts.query).get("ca", [None])[-1]
    if parts.scheme not in PROTOCOLS:
        raise ValueError(f"the scheme must be one of {', '.join(PROTOCOLS)}")
    if not parts.hostname or not parts.port or not parts.username or not parts.password:
        raise ValueError("must be of the form protocol://user:password@host:port")
    if (parts.scheme == "sasl-ssl") is (ca is None):
        raise ValueError("needs ?ca=FILE with sasl-ssl, and only with sasl-ssl")
    return SecuredKafka(
        address=parts.netloc.rpartition("@")[2],
        protocol=PROTOCOLS[parts.scheme],
        username=unquote(parts.username),
        password=unquote(parts.password),
        ca=None if ca is None else Path(ca).read_text(),
    )
