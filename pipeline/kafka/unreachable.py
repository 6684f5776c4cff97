"""Finds out why a cluster can't be reached, by connecting once more. aiokafka only logs the reason."""

import asyncio
import os
import socket
import ssl
from typing import Final

from aiokafka.conn import create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from pipeline.kafka.connection import KafkaConnection

REQUEST_TIMEOUT_SECONDS: Final = 10.0


async def why_unreachable(
    connection: KafkaConnection, *, timeout_seconds: float = REQUEST_TIMEOUT_SECONDS
) -> str | None:
    """Why the bootstrap servers can't be reached, with a reason for each server.

    Args:
        connection: connects to the cluster.
        timeout_seconds: how long a broker has for each answer.

    Returns:
        A sentence without passwords; None if all servers answer now.
    """
    servers = connection.bootstrap_servers
    found = await asyncio.gather(*(_reason(connection, server, timeout_seconds) for server in servers))
    reasons = [(server, reason) for server, reason in zip(servers, found, strict=True) if reason is not None]
    if len(servers) == 1:
        return reasons[0][1] if reasons else None
    return "; ".join(f"{server}: {reason}" for server, reason in reasons) or None


async def _reason(connection: KafkaConnection, server: str, timeout_seconds: float) -> str | None:
    host, _, port = server.rpartition(":")
    options = connection.client_options()
    del options["bootstrap_servers"]
    try:
        found = await create_conn(host.strip("[]"), int(port), request_timeout_ms=timeout_seconds * 1000, **options)
        try:
            # If the client has skipped the login, a broker refuses the client only at the first request.
            await found.send(MetadataRequest([]))
        finally:
            found.close()
    except (KafkaError, OSError) as error:
        return describe(error, connection)
    return None


def describe(error: Exception, connection: KafkaConnection) -> str:  # noqa: PLR0911 - one for each kind of failure
    """Why a connection attempt failed, for operators who can change the `security` block of the definition.

    Args:
        error: what `aiokafka.conn.create_conn` raised: a KafkaError or an OSError (such as TLS errors and timeouts).
        connection: the connection that was attempted.
    """
    match error:
        case SaslAuthenticationFailed():
            return f"it refuses the login of {connection.username} with {connection.mechanism}"
        case UnsupportedSaslMechanismError():
            return f"it does not offer the SASL mechanism {connection.mechanism}"
        case IllegalSaslStateError():
            return f"it does not accept logins there; its protocol is not {connection.protocol}"
        case ssl.SSLCertVerificationError():
            return (
                f"its certificate is not trusted ({error.verify_message}); add its authority to security.ssl.trustStore"
            )
        case ssl.SSLError():
            return (
                f"TLS fails ({error.reason or 'no reason given'}); its protocol is probably not {connection.protocol}"
            )
        case TimeoutError():
            return "it does not answer in time"
        case socket.gaierror():
            return "cannot resolve host"
        case KafkaConnectionError() | ConnectionResetError():
            return f"it closes the connection at once; its protocol is probably not {connection.protocol}"
        case OSError(errno=int(number)):
            return os.strerror(number).lower()
        case _:
            return str(error) or type(error).__name__
