"""What surrounds a worker: the network between it and the brokers, and its clock."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.faults.disk import may_mount

RARE: Final = {"iptables", "libfaketime", "tmpfs"}
"""What not every machine has, or lets everybody use."""

CUT_GROUP: Final = 54_321
"""The group id of the worker whose packets are dropped; no other process has it."""

_FAKETIME: Final = "libfaketime.so.1"


def available() -> set[str]:
    """Those of `RARE` that this machine has."""
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
    """What processes of *group* send to these ports of loopback is dropped."""
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
    """The environment of a process whose clock is off by what stands in the file, e.g. "+3600"."""
    library = _library()
    if library is None:
        raise RuntimeError(f"{_FAKETIME} is not installed (Debian: libfaketime)")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        # Without it the file is read each time that the process asks what time it is.
        "FAKETIME_CACHE_DURATION": "1",
        # Event loops live by the monotonic clock, which does not jump.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


def _library() -> Path | None:
    return next(iter(Path("/usr/lib").glob(f"*/faketime/{_FAKETIME}")), None)
