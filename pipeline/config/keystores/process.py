"""Opens untrusted stores in a separate process, which may be blocked and killed without harm.

A store determines how long its key derivation takes, and the library holds the interpreter lock meanwhile. cost.py
refuses expensive stores, but a store can hide the cost in its encrypted part. So the process has limits on CPU time and
memory.

    worker    one line of JSON: the request and the store
    process   one line of JSON: the result, or the problems

Stores pass through pipes only. The process ends when the worker's end of the pipes closes, however the worker ends.
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
"""For one store. The largest number of rounds that cost.py allows takes half a second."""
WALL_SECONDS: Final = 60.0
"""For one store, in case the process gets no CPU time."""

_COMMAND: Final = (sys.executable, "-P", "-W", "ignore", "-m", "pipeline.config.keystores")


class StoreProcess:
    """An `Opener`. Starts the process when it is first needed, and again after a store made it exceed its limits.

    Thread-safe; opens one store at a time.
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
        """Kill the process. Callers that still wait for it get a `ConfigurationError`."""
        self._is_closed = True
        process = self._process
        if process is not None:
            process.kill()
        with self._turn:
            self._end()

    def _ask(self, want: str, store: Store) -> Sequence[str]:
        path = store.key_path or store.path
        with self._turn:
            # The system may have killed the process for reasons unrelated to this store.
            for _ in range(2):
                process = None if self._is_closed else self._running()
                if process is None or self._is_closed:  # `close` may have missed a process that was just being started
                    self._end()
                    break
                answer, is_late = _exchange(process, encode_request(want, store))
                if answer.endswith(b"\n"):
                    return _decode_answer(answer)
                if self._end() == -SIGXCPU or is_late:
                    raise ConfigurationError(
                        f"{path}: takes more than {CPU_SECONDS} s of work to open; "
                        f"allowed: {MOST_ROUNDS} rounds of key derivation in all"
                    )
        raise ConfigurationError(f"{path}: could not be opened: the process that opens stores was killed")

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            # Only PYTHONPATH is passed on, because the environment also contains the keys of all secrets. A separate
            # session, so that Ctrl-C in a terminal reaches the worker only.
            self._process = subprocess.Popen(  # noqa: S603  # the command contains no untrusted input
                _COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={"PYTHONPATH": os.pathsep.join(sys.path)},
                start_new_session=True,
            )
        return self._process

    def _end(self) -> int | None:
        """Kill the process; return its exit status, None if there was no process."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):  # closing flushes unread input
                pipe and pipe.close()
        return process.wait()


def encode_request(want: str, store: Store) -> bytes:
    """One line: the method of `Opener`, and its argument."""
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
    """One line: the result, or the problems."""
    return json.dumps({"found": found, "problems": problems}).encode() + b"\n"


def _decode_answer(line: bytes) -> Sequence[str]:
    """The result. Raises: ConfigurationError, with the problems."""
    answer = json.loads(line)
    if answer["problems"]:
        raise ConfigurationError(answer["problems"])
    found: Sequence[str] = answer["found"]
    return found


def _exchange(process: "subprocess.Popen[bytes]", request: bytes) -> tuple[bytes, bool]:
    """The answer, empty or cut off if the process ended; and whether it was killed here because it took too long."""
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
