"""Why a cluster can't be reached: brokers that fail in each way, on real sockets; failed logins by their errors."""

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trustme
from aiokafka.errors import (
    IllegalSaslStateError,
    SaslAuthenticationFailed,
    UnknownError,
    UnsupportedSaslMechanismError,
)

from pipeline.core.subscription import TlsOptions
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.unreachable import describe, why_unreachable

LOGIN = KafkaConnection(("127.0.0.1:1",), "SASL_SSL", "SCRAM-SHA-512", "me", "hunter2")


@asynccontextmanager
async def listening(
    answer: Callable[[asyncio.StreamWriter], None], context: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """The address of a server on loopback that answers each connection with *answer*."""
    writers: list[asyncio.StreamWriter] = []

    def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        answer(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


def close(writer: asyncio.StreamWriter) -> None:
    writer.close()


def say_nothing(_: asyncio.StreamWriter) -> None:
    pass


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def trusting(authority: trustme.CA, server: str) -> KafkaConnection:
    return KafkaConnection((server,), "SSL", tls=TlsOptions(trusted_pem=authority.cert_pem.bytes().decode()))


@pytest.fixture
def refusing() -> Iterator[str]:
    """A port on which no process listens or can listen."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


async def test_an_address_without_a_listener_is_reported(refusing: str) -> None:
    assert await why_unreachable(KafkaConnection((refusing,))) == "connection refused"


async def test_a_server_that_hangs_up_is_reported() -> None:
    async with listening(close) as server:
        reason = await why_unreachable(KafkaConnection((server,)))

    assert reason == "it closes the connection at once; its protocol is probably not PLAINTEXT"


async def test_a_server_that_is_silent_is_reported() -> None:
    async with listening(say_nothing) as server:
        reason = await why_unreachable(KafkaConnection((server,)), timeout_seconds=0.05)

    assert reason == "it does not answer in time"


async def test_a_certificate_of_an_unknown_authority_is_reported(server_context: ssl.SSLContext) -> None:
    async with listening(say_nothing, server_context) as server:
        reason = await why_unreachable(trusting(trustme.CA(), server))

    assert reason is not None
    assert reason.startswith("its certificate is not trusted (")
    assert reason.endswith("; add its authority to security.ssl.trustStore")


async def test_a_certificate_for_another_name_is_reported(authority: trustme.CA) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("kafka.example").configure_cert(context)
    async with listening(say_nothing, context) as server:
        reason = await why_unreachable(trusting(authority, server))

    assert reason is not None
    assert "IP address mismatch, certificate is not valid for '127.0.0.1'" in reason


async def test_a_server_without_tls_is_reported(authority: trustme.CA) -> None:
    async with listening(lambda writer: writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        reason = await why_unreachable(trusting(authority, server))

    assert reason is not None
    assert reason.startswith("TLS fails (")
    assert reason.endswith("); its protocol is probably not SSL")


async def test_several_brokers_are_named_with_their_reasons(refusing: str) -> None:
    async with listening(close) as closing:
        reason = await why_unreachable(KafkaConnection((closing, refusing)))

    assert reason == (
        f"{closing}: it closes the connection at once; its protocol is probably not PLAINTEXT; "
        f"{refusing}: connection refused"
    )


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (SaslAuthenticationFailed("wrong: hunter2"), "it refuses the login of me with SCRAM-SHA-512"),
        (UnsupportedSaslMechanismError("x"), "it does not offer the SASL mechanism SCRAM-SHA-512"),
        (IllegalSaslStateError("x"), "it does not accept logins there; its protocol is not SASL_SSL"),
        (socket.gaierror(socket.EAI_NONAME, "x"), "cannot resolve host"),
        (OSError(errno.EHOSTUNREACH, "x"), "no route to host"),
        (UnknownError("something else"), "[Error -1] UnknownError: something else"),
    ],
)
def test_connection_errors_do_not_show_the_password(error: Exception, sentence: str) -> None:
    assert describe(error, LOGIN) == sentence
    assert LOGIN.password is not None
    assert LOGIN.password not in describe(error, replace(LOGIN, protocol="SASL_PLAINTEXT"))
