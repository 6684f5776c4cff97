"""The end of TLS connections, on real sockets and both event loops: closing does not wait, and cuts off no data."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
import trustme

from pipeline.kafka.connection import close_promptly


class SilentServer:
    """A server that accepts one connection, and does not read from it until a test calls `read`.

    Attributes:
        received: the bytes that the client sent before its close_notify.
    """

    def __init__(self, listener: socket.socket, context: ssl.SSLContext) -> None:
        self.port = int(listener.getsockname()[1])
        self.received = b""
        self._listener = listener
        self._context = context
        self._may_read = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        # With suppress_ragged_eofs=False an end without close_notify is an error.
        with self._context.wrap_socket(connection, server_side=True, suppress_ragged_eofs=False) as tls:
            tls.settimeout(10)
            self._may_read.wait(40)
            while data := tls.recv(1024):
                self.received += data

    def read(self) -> None:
        """Read until the end."""
        self._may_read.set()
        self._thread.join(20)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[SilentServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        silent = SilentServer(listener, context)
        yield silent
        silent.read()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_connection_closes_at_once_and_its_last_data_arrives(
    server: SilentServer, authority: trustme.CA, version: ssl.TLSVersion
) -> None:
    context = ssl.create_default_context()
    context.maximum_version = version
    authority.configure_trust(context)
    close_promptly(context)
    _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)

    writer.write(b"last words")
    writer.close()
    async with asyncio.timeout(5):
        await writer.wait_closed()
    await asyncio.to_thread(server.read)

    assert server.received == b"last words"
