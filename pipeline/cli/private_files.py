"""Creates files that no other user may read."""

import os
from pathlib import Path
from typing import TextIO


def new_private_file(path: Path) -> TextIO:
    """Create a file and open it for writing. It has mode 0600 from the start, because it may contain secrets.

    Raises:
        OSError: the file exists or can't be created.
    """
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")
