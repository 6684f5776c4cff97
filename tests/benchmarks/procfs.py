"""The resources that a process has used, all its threads together, according to Linux (proc(5))."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")

# Indexes of fields. Index 0 is the first field after the closing parenthesis of the command, field 3 in proc(5).
_USER_TICKS: Final = 11
_SYSTEM_TICKS: Final = 12


@dataclass(frozen=True, slots=True)
class Memory:
    """The resident memory of a process.

    Attributes:
        resident_bytes: the current number of bytes.
        peak_bytes: the largest number of bytes so far.
    """

    resident_bytes: int
    peak_bytes: int


def cpu_seconds(pid: int) -> float:
    """The user and system time of a process since its start, in steps of a clock tick (10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])) / TICKS_PER_SECOND


def sockets(pid: int) -> int:
    """The number of open sockets of a process."""
    found = 0
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the descriptor was closed in the meantime
            found += str(each.readlink()).startswith("socket:")
    return found


def memory(pid: int) -> Memory:
    """The memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if "kB" in rest}
    return Memory(kib["VmRSS"] * 1024, kib["VmHWM"] * 1024)
