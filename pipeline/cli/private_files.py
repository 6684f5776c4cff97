"""New files that nobody else may read."""

import os
from pathlib import Path
from typing import TextIO


def new_private_file(path: Path) -> TextIO:
    """A file that did not exist, open for writing; it has mode 0600 from its first moment, since it may hold secrets.

    Raises:
        OSError: the file exists, or can't be made.
    """
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")
