"""A SOCKS proxy for tests: versions 4 and 4a, and version 5 (RFC 1928) with user name and password (RFC 1929)."""

import asyncio
import struct
from dataclasses import dataclass

from tests.support.receiver import HOST
from tests.support.tunnel import TunnelServer, tunnel

_SUCCEEDED, _NOT_ALLOWED = 0, 2
_IPV4, _NAME, _IPV6 = 1, 3, 4


@dataclass(frozen=True, slots=True)
class Asked:
    """The request of a client."""

    version: int
    host: str
    port: int
    username: str | None
    password: str | None = None


class SocksProxy(TunnelServer):
    """The proxy; an async context manager.

    Args:
        credentials: the user name and password that version 5 requires; for version 4, the user id and "".
        refuses: refuse every connection.
        says: the bytes to send instead of an answer, before the connection is closed.
        is_silent: never answer.

    Attributes:
        asked: the requests, in order.
        reached: set once a client has sent something.
    """

    def __init__(
        self,
        credentials: tuple[str, str] | None = None,
        *,
        refuses: bool = False,
        says: bytes | None = None,
        is_silent: bool = False,
    ) -> None:
        super().__init__()
        self.asked: list[Asked] = []
        self.reached = asyncio.Event()
        self._credentials = credentials
        self._refuses = refuses
        self._says = says
        self._is_silent = is_silent

    def url(self, scheme: str = "socks5") -> str:
        """The URL of the proxy."""
        return f"{scheme}://{HOST}:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read the destination, and open a tunnel."""
        [version] = await reader.readexactly(1)
        self.reached.set()
        if self._is_silent:
            await reader.read()
            return
        if self._says is not None:
            writer.write(self._says)
            await writer.drain()
            return
        asked = await (_ask_4(reader) if version == 4 else self._ask_5(reader, writer))
        if asked is None:
            return
        self.asked.append(asked)
        wrong = version == 4 and self._credentials is not None and asked.username != self._credentials[0]
        if self._refuses or wrong:
            writer.write(_answer(version, succeeded=False))
            await writer.drain()
            return
        answers, questions = await asyncio.open_connection(asked.host.rstrip("."), asked.port)
        writer.write(_answer(version, succeeded=True))
        await tunnel(reader, writer, (answers, questions))

    async def _ask_5(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Asked | None:
        methods = await reader.readexactly((await reader.readexactly(1))[0])
        username, password = None, None
        if self._credentials is None:
            writer.write(b"\x05\x00")
        elif 2 not in methods:
            writer.write(b"\x05\xff")
            await writer.drain()
            return None
        else:
            writer.write(b"\x05\x02")
            await reader.readexactly(1)
            username = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
            password = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
            if (username, password) != self._credentials:
                writer.write(b"\x01\x01")
                await writer.drain()
                return None
            writer.write(b"\x01\x00")
        _, _, _, kind = await reader.readexactly(4)
        if kind == _NAME:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        elif kind == _IPV4:
            host = ".".join(map(str, await reader.readexactly(4)))
        else:
            host = ":".join(f"{part:x}" for part in struct.unpack(">8H", await reader.readexactly(16)))
        [port] = struct.unpack(">H", await reader.readexactly(2))
        return Asked(5, host, port, username, password)


async def _ask_4(reader: asyncio.StreamReader) -> Asked:
    _, port, address = struct.unpack(">BH4s", await reader.readexactly(7))
    username = (await reader.readuntil(b"\0"))[:-1].decode()
    host = ".".join(map(str, address))
    if address[:3] == b"\0\0\0" and address[3]:
        host = (await reader.readuntil(b"\0"))[:-1].decode()
    return Asked(4, host, port, username or None)


def _answer(version: int, *, succeeded: bool) -> bytes:
    if version == 4:
        return bytes([0, 0x5A if succeeded else 0x5B]) + bytes(6)
    return bytes([5, _SUCCEEDED if succeeded else _NOT_ALLOWED, 0, _IPV4]) + bytes(6)
