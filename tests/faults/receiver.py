"""The receiver: a separate process that logs every call before it answers, and misbehaves on command.

`python -m tests.faults.receiver LOG` prints its port. Each line of standard input is a mode, as JSON. Each line of LOG
is a call, with fields separated by tabs: time, webhook-id, attempt, status (0 without an answer), subscription whose
URL was called, CRC-32 of the body.
"""

import asyncio
import json
import os
import random
import socket
import sys
import time
import zlib
from pathlib import Path
from typing import Any, Final

HOST: Final = "127.0.0.1"
OK: Final = 200
NONE: Final = 0
TOKEN_SECONDS: Final = 3
"""The lifetime of tokens, which is short, so that tokens are requested often."""


class Receiver:
    """Reads requests, and answers according to the mode.

    Modes of callbacks: {"name": "ok"}, "hang", "slow" (*seconds*), "errors" (*share* of 503), "reject" (*share* of
    422), "down"; with "only": "odd", only for subscriptions with an odd number. Modes of the token endpoint, /token:
    {"tokens": "ok"}, "down" (503), "slow" (two seconds), "wrong" (no JSON), "refuse" (401).
    """

    def __init__(self, log: Path) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        self._mode: dict[str, Any] = {"name": "ok"}
        self._tokens = "ok"
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._random = random.Random(1)
        self._changed = asyncio.Event()
        self.port = 0

    async def listen(self) -> None:
        """Open the port, which is always the same."""
        self._server = await asyncio.start_server(self._serve, HOST, self.port, reuse_address=True, backlog=1000)
        self.port = self._server.sockets[0].getsockname()[1]

    async def switch(self, mode: dict[str, Any]) -> None:
        """Change the mode, and end requests that hang."""
        if "tokens" in mode:
            self._tokens = mode["tokens"]
            return
        was_down, self._mode = self._mode["name"] == "down", mode
        self._changed.set()
        self._changed = asyncio.Event()
        if mode["name"] == "down" and self._server is not None:
            self._server.close()
            self._server = None
            for writer in list(self._writers):
                writer.transport.abort()
        elif was_down:
            await self.listen()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        body = await reader.readexactly(int(fields.get("content-length", "0")))
        called = head.split(" ", 2)[1].removeprefix("/")
        if called == "token":
            await self._give_token(writer)
            return True
        mode: dict[str, Any] = self._mode if self._concerns(called) else {"name": "ok"}
        status = self._status(mode)
        self._write_down(fields, status, called, zlib.crc32(body))
        if mode["name"] == "hang":
            # The request hangs until the mode changes. If its client still waits then, the connection is closed.
            await self._changed.wait()
            return False
        if mode["name"] == "slow":
            await asyncio.sleep(mode["seconds"])
        writer.write(b"HTTP/1.1 %d -\r\nContent-Length: 0\r\n\r\n" % status)
        await writer.drain()
        return True

    async def _give_token(self, writer: asyncio.StreamWriter) -> None:
        status, body = OK, b'{"access_token": "T", "token_type": "bearer", "expires_in": %d}' % TOKEN_SECONDS
        match self._tokens:
            case "down":
                status, body = 503, b""
            case "refuse":
                status, body = 401, b'{"error": "invalid_client"}'
            case "wrong":
                body = b"<html>hello</html>"
            case "slow":
                await asyncio.sleep(2)
            case _:
                pass
        writer.write(b"HTTP/1.1 %d -\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
        await writer.drain()

    def _concerns(self, subscription: str) -> bool:
        return self._mode.get("only") != "odd" or int(subscription.rpartition("-")[2] or 0) % 2 == 1

    def _status(self, mode: dict[str, Any]) -> int:
        match mode["name"]:
            case "hang":
                return NONE
            case "errors" if self._random.random() < mode["share"]:
                return 503
            case "reject" if self._random.random() < mode["share"]:
                return 422
            case _:
                return OK

    def _write_down(self, fields: dict[str, str], status: int, subscription: str, checksum: int) -> None:
        known = f"{fields.get('webhook-id', '')}\t{fields.get('webhook-attempt', '0')}"
        os.write(self._log, f"{time.time():.6f}\t{known}\t{status}\t{subscription}\t{checksum}\n".encode())


async def main(log: Path) -> None:
    """Serve until standard input ends."""
    receiver = Receiver(log)
    await receiver.listen()
    sys.stdout.write(f"{receiver.port}\n")
    sys.stdout.flush()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        await receiver.switch(json.loads(line))
        sys.stdout.write("switched\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
