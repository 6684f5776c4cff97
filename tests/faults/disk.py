"""A small disk for the brokers, which can be filled: a tmpfs, which needs the right to mount."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

MEBIBYTES: Final = 512

_CAP_SYS_ADMIN: Final = 21
"""The bit of the capability CAP_SYS_ADMIN (capabilities(7))."""


def may_mount() -> bool:
    """Whether this process has the right to mount (proc_pid_status(5))."""
    lines = Path("/proc/self/status").read_text().splitlines()
    effective = next(line.split()[1] for line in lines if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> _CAP_SYS_ADMIN & 1)


@asynccontextmanager
async def small_disk(folder: Path) -> AsyncIterator[None]:
    """Mount a file system of `MEBIBYTES` in *folder*.

    Raises:
        RuntimeError: it can't be mounted.
    """
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - nothing else is under way
    await _run("mount", "-t", "tmpfs", "-o", f"size={MEBIBYTES}m", "tmpfs", str(folder))
    try:
        yield
    finally:
        # The unmount is lazy, because a process that was just killed may still have open files.
        await _run("umount", "--lazy", str(folder))


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Fill the disk of *folder* completely."""
    filler = folder / "filler"
    try:
        with filler.open("wb") as file:
            # The disk is filled repeatedly, because other processes write at the same time, and may free space again.
            while free := _free_bytes(folder):
                _take(file.fileno(), free)
        yield
    finally:
        filler.unlink()


def _free_bytes(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _take(file: int, count: int) -> None:
    try:
        os.posix_fallocate(file, os.fstat(file).st_size, count)
    except OSError:
        # Another process has used the space in the meantime, so less is left than before.
        return


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, error = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: {error.decode()}")
