"""The process that opens stores (process.py). It answers each line of its input with a line."""

import math
import resource
import sys
from typing import Final

from pipeline.config.keystores.opening import OpenHere, Store
from pipeline.config.keystores.process import CPU_SECONDS, decode_request, encode_answer
from pipeline.core.errors import ConfigurationError

MEMORY_BYTES: Final = 512 * 1024 * 1024
"""The memory limit. Without it, scrypt (RFC 7914) uses as much memory as the store demands."""


def main() -> None:
    """Answer requests until the worker ends."""
    # A core dump would contain passwords.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    for line in sys.stdin.buffer:
        _limit_work()
        sys.stdout.buffer.write(_answer(*decode_request(line)))
        sys.stdout.buffer.flush()


def _limit_work() -> None:
    """Limit the CPU time from now on. When it is used up, the kernel kills the process with SIGXCPU."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(used.ru_utime + used.ru_stime) + CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _answer(want: str, store: Store) -> bytes:
    opener = OpenHere()
    try:
        match want:
            case "trusted":
                return encode_answer([opener.trusted(store)], [])
            case "client":
                client = opener.client(store)
                return encode_answer([client.certificate_pem, client.key_pem], [])
            case _:
                return encode_answer([opener.key(store)], [])
    except ConfigurationError as error:
        return encode_answer([], error.problems)


if __name__ == "__main__":
    main()
