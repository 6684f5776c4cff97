"""Reads key stores that a subscription names by path, from one directory only.

Anyone who may edit a subscription can write any path, so errors must not reveal anything about the worker's disk.
"""

import stat
from os.path import normpath
from pathlib import Path
from typing import Final

from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import shown

MAX_BYTES: Final = 1024 * 1024
"""The largest key store that is read."""

SETTING: Final = "WEBHOOKS_KEY_STORE_DIR"


def read_key_file(folder: Path | None, path: str, field: str) -> bytes:
    """The content of a key store.

    Args:
        folder: the allowed folder, with its subfolders; None allows no file.
        path: the path of the file, absolute or relative to *folder*.
        field: the path of the field that names the file, for errors.

    Raises:
        ConfigurationError: the file is not in the folder, can't be read, or is too large. Files outside the folder are
            never accessed.
    """
    if folder is None:
        raise ConfigurationError(
            f"{field}: names a file, but {SETTING} is not set, so no file may be read; set it, or put the store into "
            "content"
        )
    try:
        found = _inside(folder, path)
        if found is None:
            raise ConfigurationError(f"{field}: {shown(path)} is not in {SETTING}")
        status = found.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            raise ConfigurationError(f"{field}: {shown(path)} is not a file of at most {MAX_BYTES} bytes")
        with found.open("rb") as file:
            return file.read(MAX_BYTES)
    except (OSError, ValueError, RuntimeError) as error:  # pathlib raises RuntimeError for a loop of links
        reason = getattr(error, "strerror", None) or "it is not a valid path"
        raise ConfigurationError(f"{field}: {shown(path)} can't be read: {reason}") from None


def _inside(folder: Path, path: str) -> Path | None:
    """The file with all links resolved; None if it is not in *folder*."""
    root = folder.resolve(strict=True)
    # The path is first checked with unresolved links: otherwise a path that leaves the folder and returns could show
    # which links exist outside.
    named = Path(normpath(folder.absolute() / path))
    if not any(named.is_relative_to(each) for each in (Path(normpath(folder.absolute())), root)):
        return None
    found = named.resolve()
    return found if found.is_relative_to(root) else None
