"""Opens untrusted stores in a separate process, which may be blocked and killed without harm.

A store determines how long its key derivation takes, and during this time the library holds the interpreter lock.
cost.py refuses expensive stores, but the encrypted part of a store can hide the cost. So the process has limits on CPU
time and memory.

    worker    one line of JSON: the request and the store
    process   one line of JSON: the result, or the problems

Stores are only sent through pipes, never written to files. The process ends when the worker's ends of the pipes are
closed, even if the worker was killed.
"""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from signal import SIGXCPU
from typing import Any, Final

from pipeline.config.keystores.certificates import ClientCertificate
from pipeline.config.keystores.cost import MOST_ROUNDS
from pipeline.config.keystores.opening import Store
from pipeline.core.errors import ConfigurationError

CPU_SECONDS: Final = 2
"""The limit for one store. The largest number of rounds that cost.py allows takes half a second."""
WALL_SECONDS: Final = 60.0
"""The limit for one store if the process gets no CPU time."""

_COMMAND: Final = (sys.executable, "-P", "-W", "ignore", "-m", "pipeline.config.keystores")


class StoreProcess:
    """An `Opener` that uses the process. Starts it on first use, and again after a store has exceeded the limits.

    Thread-safe. Opens one store at a time.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    def trusted(self, store: Store) -> str:
        """See `Opener`."""
        [pem] = self._ask("trusted", store)
        return pem

    def client(self, store: Store) -> ClientCertificate:
        """See `Opener`."""
        certificate, key = self._ask("client", store)
        return ClientCertificate(certificate, key)

    def key(self, store: Store) -> str:
        """See `Opener`."""
        [pem] = self._ask("key", store)
        return pem

    def close(self) -> None:
        """Kill the process. Callers that are still waiting for an answer get a `ConfigurationError`."""
        self._is_closed = True
        process = self._process
        if process is not None:
            process.kill()
        with self._turn:
            self._end()

    def _ask(self, want: str, store: Store) -> Sequence[str]:
        path = store.key_path or store.path
        with self._turn:
            # Try again: the system may have killed the process for a reason that has nothing to do with this store.
            for _ in range(2):
                process = None if self._is_closed else self._running()
                if process is None or self._is_closed:  # `close` did not kill the process if it was just being started
                    self._end()
                    break
                answer, is_late = _exchange(process, encode_request(want, store))
                if answer.endswith(b"\n"):
                    return _decode_answer(answer)
                if self._end() == -SIGXCPU or is_late:
                    raise ConfigurationError(
                        f"{path}: takes more than {CPU_SECONDS} s of CPU time to open; "
                        f"allowed: {MOST_ROUNDS} rounds of key derivation in all"
                    )
        raise ConfigurationError(f"{path}: could not be opened: the process that opens stores was killed")

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            # Only PYTHONPATH is passed on, because the environment also contains the keys of all secrets. In a separate
            # session, the process does not get the signal of Ctrl-C in a terminal.
            self._process = subprocess.Popen(  # noqa: S603  # the command contains no untrusted input
                _COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={"PYTHONPATH": os.pathsep.join(sys.path)},
                start_new_session=True,
            )
        return self._process

    def _end(self) -> int | None:
        """Kill the process. Returns its exit status; None if there was no process."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):  # closing flushes unread input
                pipe and pipe.close()
        return process.wait()


def encode_request(want: str, store: Store) -> bytes:
    """A request as one line: the method of `Opener`, and its argument."""
    values = {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for name, value in asdict(store).items()
    }
    return json.dumps({"want": want, "store": values}).encode() + b"\n"


def decode_request(line: bytes) -> tuple[str, Store]:
    """The inverse of `encode_request`."""
    request = json.loads(line)
    values: dict[str, Any] = request["store"]
    for name in ("data", "key"):
        values[name] = base64.b64decode(values[name])
    return request["want"], Store(**values)


def encode_answer(found: Sequence[str], problems: Sequence[str]) -> bytes:
    """An answer as one line: the result, or the problems."""
    return json.dumps({"found": found, "problems": problems}).encode() + b"\n"


def _decode_answer(line: bytes) -> Sequence[str]:
    """The result in an answer. Raises: ConfigurationError, if it contains problems."""
    answer = json.loads(line)
    if answer["problems"]:
        raise ConfigurationError(answer["problems"])
    found: Sequence[str] = answer["found"]
    return found


def _exchange(process: "subprocess.Popen[bytes]", request: bytes) -> tuple[bytes, bool]:
    """Send a request. Returns the answer (cut off if the process ended), and whether a timeout killed the process."""
    late = threading.Event()

    def end() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(WALL_SECONDS, end)
    timer.daemon = True
    timer.start()
    try:
        assert process.stdin is not None and process.stdout is not None  # noqa: PT018,S101
        process.stdin.write(request)
        process.stdin.flush()
        return process.stdout.readline(), late.is_set()
    except OSError:
        return b"", late.is_set()
    finally:
        timer.cancel()
