"""deploy/receiver.py prints one line for each event, even if many events arrive at once and the receiver is killed."""

import asyncio
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

import aiohttp

from tests.support.program import started

RECEIVER: Final = str(Path(__file__).parents[2] / "deploy" / "receiver.py")
SENDERS: Final = 16
EACH: Final = 40


async def test_each_request_is_printed_on_a_line_of_its_own_in_order() -> None:
    async with started(sys.executable, RECEIVER, "0", settings={}) as receiver:
        port = (await receiver.line("receiving on port ")).rpartition(" ")[2]

        async def send(client: aiohttp.ClientSession, sender: int) -> None:
            for number in range(EACH):
                body = f"{sender} {number}".encode()
                async with client.post(f"http://127.0.0.1:{port}/hook", data=body) as response:
                    assert response.status == 200

        # Each request has a separate connection, so that the order of the lines is not the order within a connection.
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as client:
            await asyncio.gather(*(send(client, sender) for sender in range(SENDERS)))
        await receiver.stop(signal.SIGKILL)

    line = re.compile(r"200 POST '/hook' subscription='-' id='-' attempt='-' \d+ bytes b'(\d+) (\d+)'")
    printed = [line.fullmatch(text) for text in receiver.output[1:]]
    assert None not in printed
    for sender in range(SENDERS):
        numbers = [int(found[2]) for found in printed if found is not None and int(found[1]) == sender]
        assert numbers == list(range(EACH))


def test_a_port_that_can_t_be_used_is_reported_in_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        number = str(taken.getsockname()[1])
        ran = {
            port: subprocess.run([sys.executable, RECEIVER, port], capture_output=True, text=True, check=False)
            for port in (number, "abc", "65536")
        }

    assert {port: each.returncode for port, each in ran.items()} == {number: 1, "abc": 2, "65536": 2}
    assert ran[number].stderr.startswith(f"port {number} can't be used: Address already in use; ")
    assert ran["abc"].stderr.endswith('PORT: "abc" is not a port; allowed: 0 to 65535\n')
    assert not any("Traceback" in each.stderr for each in ran.values())
