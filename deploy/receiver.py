"""A receiver for trying deliveries. It prints one line for each POST, then answers it. Standard library only.

    python receiver.py [PORT]

`POST /status/503` (or any status from 200 to 599) is answered with that status, everything else with 200.
"""

import argparse
import re
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

SHOWN_BYTES: Final = 200
MAX_BODY_BYTES: Final = 16 * 1024 * 1024
MAX_PORT: Final = 65535
PRINTING: Final = threading.Lock()


class Receiver(BaseHTTPRequestHandler):
    """Answers the requests of a connection."""

    protocol_version = "HTTP/1.1"  # connections stay open, so that the worker can reuse them
    timeout = 120

    def do_POST(self) -> None:
        """Read the body, print a line, and answer."""
        length = int(self.headers.get("content-length", "0"))
        if length > MAX_BODY_BYTES:
            self.close_connection = True
            self._answer(413)
            return
        body = self.rfile.read(length)
        wanted = re.fullmatch(r"/status/([2-5]\d\d)", self.path)
        status = int(wanted.group(1)) if wanted else 200
        # Printed before the answer, so that every answered request is in the log, in order, even if this process is
        # killed.
        self._print(status, body)
        self._answer(status)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def _print(self, status: int, body: bytes) -> None:
        # repr() escapes control characters, so that text from the sender can't move the cursor of the terminal.
        told = {name: self.headers.get(f"webhook-{name}", "-") for name in ("subscription", "id", "attempt")}
        facts = " ".join(f"{name}={value!r}" for name, value in told.items())
        with PRINTING:  # print() alone could mix the lines of several threads
            print(f"{status} POST {self.path!r} {facts} {len(body)} bytes {body[:SHOWN_BYTES]!r}", flush=True)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
        """Suppress the log lines of the library, because one line per event is enough."""


def a_port(argument: str) -> int:
    """Read a port; 0 is any free port."""
    if not (argument.isascii() and argument.isdecimal() and int(argument) <= MAX_PORT):
        raise argparse.ArgumentTypeError(f'"{argument}" is not a port; allowed: 0 to {MAX_PORT}')
    return int(argument)


def bound(port: int) -> ThreadingHTTPServer:
    """A server at the port. If the port can't be used, the program ends with a sentence."""
    try:
        return ThreadingHTTPServer(("0.0.0.0", port), Receiver)  # noqa: S104  # other containers connect to it
    except OSError as error:
        sys.exit(f"port {port} can't be used: {error.strerror}; choose another: receiver.py PORT")


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    parser = argparse.ArgumentParser(description="Print and answer each POST.")
    parser.add_argument("port", metavar="PORT", nargs="?", type=a_port, default=8080)
    with bound(parser.parse_args().port) as server:
        print(f"receiving on port {server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
