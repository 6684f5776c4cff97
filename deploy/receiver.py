"""A receiver for trying deliveries. It prints one line for each POST, then answers it. Standard library only.

    python receiver.py [PORT]

`POST /status/503` (or any status from 200 to 599) is answered with that status, everything else with 200.
"""

import re
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

SHOWN_BYTES: Final = 200
MAX_BODY_BYTES: Final = 16 * 1024 * 1024
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


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080
    address = ("0.0.0.0", port)  # noqa: S104  # other containers connect to it
    with ThreadingHTTPServer(address, Receiver) as server:
        print(f"receiving on port {server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
