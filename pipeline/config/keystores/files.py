"""Key stores on the worker's disk, which a subscription may name by path: those of one folder, and nothing else.

A subscription is written by whoever may edit it, so a path in one must not become a way to look around on the machine.
"""

import stat
from os.path import normpath
from pathlib import Path
from typing import Final

from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import shown

MAX_BYTES: Final = 1024 * 1024
"""Of a key store: larger ones don't exist."""

SETTING: Final = "WEBHOOKS_KEY_STORE_DIR"


def read_key_file(folder: Path | None, path: str, field: str) -> bytes:
    """The content of a key store.

    Args:
        folder: the only one that is read from, with the folders in it; None reads nothing.
        path: relative to it, or absolute.
        field: that names the path, for errors.

    Raises:
        ConfigurationError: the file is not in the folder, can't be read, or is too large. What is outside of the folder
            is not even looked at.
    """
    if folder is None:
        raise ConfigurationError(f"{field}: names a file, which {SETTING} has to allow; or put the store into content")
    try:
        found = _inside(folder, path)
        if found is None:
            raise ConfigurationError(f"{field}: {shown(path)} is not in {SETTING}")
        status = found.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            raise ConfigurationError(f"{field}: {shown(path)} is not a file of at most {MAX_BYTES} bytes")
        with found.open("rb") as file:
            return file.read(MAX_BYTES)
    except (OSError, ValueError, RuntimeError) as error:  # pathlib finds a ring of links with a RuntimeError
        reason = getattr(error, "strerror", None) or "is no path"
        raise ConfigurationError(f"{field}: {shown(path)} can't be read: {reason}") from None


def _inside(folder: Path, path: str) -> Path | None:
    """The file, all links followed; None if it is not in *folder*."""
    root = folder.resolve(strict=True)
    # By its letters first: a path that only passes through the outside would tell of the links there.
    named = Path(normpath(folder.absolute() / path))
    if not any(named.is_relative_to(each) for each in (Path(normpath(folder.absolute())), root)):
        return None
    found = named.resolve()
    return found if found.is_relative_to(root) else None
