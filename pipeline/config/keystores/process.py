"""Opens stores of strangers in a process of its own, which may be held and killed without harm.

To derive a key takes as long as the store says, and the library holds the interpreter meanwhile. cost.py refuses what
says so openly; a store can hide it inside of what is encrypted. So that process gets a limit of CPU time and of memory.

    worker    one line of JSON: what is wanted, and the store
    process   one line of JSON: what was found, or the problems

A store goes through pipes alone. The process ends when the worker's end of them closes, however the worker ends.
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
"""For one store. The most rounds that cost.py allows take half a second."""
WALL_SECONDS: Final = 60.0
"""For one store, and a process that gets no CPU time."""

_COMMAND: Final = (sys.executable, "-P", "-W", "ignore", "-m", "pipeline.config.keystores")


class StoreProcess:
    """An `Opener`: the process is started when it is first needed, and again when a store has cost its life.

    One store at a time; any thread may call, and waits for its turn.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    def trusted(self, store: Store) -> str:
        """As `Opener` says."""
        [pem] = self._ask("trusted", store)
        return pem

    def client(self, store: Store) -> ClientCertificate:
        """As `Opener` says."""
        certificate, key = self._ask("client", store)
        return ClientCertificate(certificate, key)

    def key(self, store: Store) -> str:
        """As `Opener` says."""
        [pem] = self._ask("key", store)
        return pem

    def close(self) -> None:
        """End the process; whoever still waits for it gets a `ConfigurationError`."""
        self._is_closed = True
        process = self._process
        if process is not None:
            process.kill()
        with self._turn:
            self._end()

    def _ask(self, want: str, store: Store) -> Sequence[str]:
        path = store.key_path or store.path
        with self._turn:
            # A process may be killed for reasons of the machine's, which say nothing of this store.
            for _ in range(2):
                if self._is_closed:
                    break
                answer, is_late = _exchange(self._running(), encode_request(want, store))
                if answer.endswith(b"\n"):
                    return _decode_answer(answer)
                if self._end() == -SIGXCPU or is_late:
                    raise ConfigurationError(
                        f"{path}: takes more than {CPU_SECONDS} s of work to open; "
                        f"allowed: {MOST_ROUNDS} rounds of key derivation in all"
                    )
        raise ConfigurationError(f"{path}: could not be opened: the process that opens stores was ended")

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            # The same modules, and nothing else of the environment: it holds the keys of all secrets. A session of its
            # own, for Ctrl-C in a terminal is the worker's.
            self._process = subprocess.Popen(  # noqa: S603  # nothing in it is a stranger's
                _COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={"PYTHONPATH": os.pathsep.join(sys.path)},
                start_new_session=True,
            )
        return self._process

    def _end(self) -> int | None:
        """Returns how it ended; None if there was none."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):  # what it did not take any more
                pipe and pipe.close()
        return process.wait()


def encode_request(want: str, store: Store) -> bytes:
    """One line: which method of `Opener` is called, and with what."""
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
    """One line: what was found, or why nothing was."""
    return json.dumps({"found": found, "problems": problems}).encode() + b"\n"


def _decode_answer(line: bytes) -> Sequence[str]:
    """Raises: ConfigurationError, with the problems."""
    answer = json.loads(line)
    if answer["problems"]:
        raise ConfigurationError(answer["problems"])
    found: Sequence[str] = answer["found"]
    return found


def _exchange(process: "subprocess.Popen[bytes]", request: bytes) -> tuple[bytes, bool]:
    """The answer, empty or cut off if the process ended; and whether it was ended here because it took too long."""
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
