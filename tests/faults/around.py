"""Breaks the surroundings of a worker: the network between it and the brokers, and its clock."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.faults.disk import may_mount

RARE: Final = {"iptables", "libfaketime", "tmpfs"}
"""Requirements that not every machine meets."""

CUT_GROUP: Final = 54_321
"""The group id of the worker whose packets are dropped. No other process has it."""

_FAKETIME: Final = "libfaketime.so.1"


def available() -> set[str]:
    """The requirements of `RARE` that this machine meets."""
    found = set()
    if os.geteuid() == 0 and shutil.which("iptables"):
        found.add("iptables")
    if _library() is not None:
        found.add("libfaketime")
    if may_mount():
        found.add("tmpfs")
    return found


@asynccontextmanager
async def unreachable(ports: Sequence[int], group: int) -> AsyncIterator[None]:
    """Drop packets that processes of *group* send to these ports on loopback."""
    rule = ["OUTPUT", "-o", "lo", "-p", "tcp", "-m", "owner", "--gid-owner", str(group), "-m", "multiport"]
    rule += ["--dports", ",".join(map(str, ports)), "-j", "DROP"]
    await _iptables("-I", *rule)
    try:
        yield
    finally:
        await _iptables("-D", *rule)


async def _iptables(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec("iptables", *arguments, stderr=asyncio.subprocess.PIPE)
    _, error = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"iptables {' '.join(arguments)}: {error.decode()}")


def faked_clock(offset: Path) -> Mapping[str, str]:
    """The environment of a process whose clock differs from the machine's by the value in the file, such as "+3600"."""
    library = _library()
    if library is None:
        raise RuntimeError(f"{_FAKETIME} is not installed (Debian: libfaketime)")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        # Without this variable, the file is read each time that the process gets the time.
        "FAKETIME_CACHE_DURATION": "1",
        # Event loops use the monotonic clock, which must not jump.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


def _library() -> Path | None:
    return next(iter(Path("/usr/lib").glob(f"*/faketime/{_FAKETIME}")), None)
