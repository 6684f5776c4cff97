"""A name server on loopback. It answers questions for some names, and no others."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Final, cast

HOST: Final = "127.0.0.1"

_HEADER: Final = struct.Struct("!6H")
_RESPONSE: Final = 0x8180
_NO_SUCH_NAME: Final = 3
_TYPES: Final = {1: 4, 28: 6}
"""The record types A and AAAA, with the IP versions of their addresses."""
_CLASS_INTERNET: Final = 1
_POINTER_TO_THE_QUESTION: Final = 0xC00C


class NameServer(asyncio.DatagramProtocol):
    """Answers over UDP (RFC 1035).

    Args:
        addresses: the addresses of each name. The answer for a name without addresses is that it does not exist.

    Attributes:
        asked: the name in each question so far. A lookup of both IP versions has two questions.
        address: the address of the server.
    """

    def __init__(self, addresses: Mapping[str, Sequence[str]]) -> None:
        self.addresses: dict[str, Sequence[str]] = dict(addresses)
        self.asked: list[str] = []
        self._unanswered: list[tuple[bytes, tuple[str, int]]] = []
        self.address = ""
        self._heard = asyncio.Event()

    async def until_asked(self, count: int) -> None:
        """Return when there have been *count* questions."""
        async with asyncio.timeout(5):
            while len(self.asked) < count:
                self._heard.clear()
                await self._heard.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)
        self.address = "{}:{}".format(*transport.get_extra_info("sockname"))

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        name, end = _name(data)
        self.asked.append(name)
        self._heard.set()
        known = self.addresses.get(name)
        if known is None:
            self._unanswered.append((data, addr))
        else:
            self._transport.sendto(_answer(data, end, known), addr)

    def learn(self, name: str, *addresses: str) -> None:
        """Add *name*, and answer the questions for it that wait."""
        self.addresses[name] = addresses
        waiting, self._unanswered = self._unanswered, []
        for question, asker in waiting:
            asked, end = _name(question)
            if asked == name:
                self._transport.sendto(_answer(question, end, addresses), asker)
            else:
                self._unanswered.append((question, asker))


def _name(data: bytes) -> tuple[str, int]:
    """The name in the question, and the position after the question."""
    labels, at = [], _HEADER.size
    while data[at]:
        labels.append(data[at + 1 : at + 1 + data[at]].decode("ascii"))
        at += 1 + data[at]
    return ".".join(labels).lower(), at + 5


def _answer(question: bytes, end: int, addresses: Sequence[str]) -> bytes:
    kind = int.from_bytes(question[end - 4 : end - 2])
    fitting = [ip_address(text) for text in addresses if ip_address(text).version == _TYPES.get(kind)]
    flags = _RESPONSE | (0 if addresses else _NO_SUCH_NAME)
    head = _HEADER.pack(int.from_bytes(question[:2]), flags, 1, len(fitting), 0, 0)
    records = [
        struct.pack("!3HIH", _POINTER_TO_THE_QUESTION, kind, _CLASS_INTERNET, 0, len(address.packed)) + address.packed
        for address in fitting
    ]
    return head + question[_HEADER.size : end] + b"".join(records)


@asynccontextmanager
async def name_server(addresses: Mapping[str, Sequence[str]] | None = None) -> AsyncIterator[NameServer]:
    """Run a name server until the end of the context."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(
        lambda: NameServer(addresses or {}), (HOST, 0), family=socket.AF_INET
    )
    try:
        yield server
    finally:
        transport.close()
