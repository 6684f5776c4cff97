"""What a process has used, as Linux tells it: all its threads together (proc(5))."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")

# Counted from the first field after the command's closing parenthesis, which is field 3 in proc(5).
_USER_TICKS: Final = 11
_SYSTEM_TICKS: Final = 12


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory.

    Attributes:
        resident_bytes: now.
        peak_bytes: the most there ever was.
    """

    resident_bytes: int
    peak_bytes: int


def cpu_seconds(pid: int) -> float:
    """User and system time of the process *pid* since it began; in steps of a clock tick (10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])) / TICKS_PER_SECOND


def sockets(pid: int) -> int:
    """How many sockets the process *pid* has."""
    found = 0
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found += str(each.readlink()).startswith("socket:")
    return found


def memory(pid: int) -> Memory:
    """The memory of the process *pid*."""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if "kB" in rest}
    return Memory(kib["VmRSS"] * 1024, kib["VmHWM"] * 1024)
