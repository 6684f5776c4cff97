"""Merges the output of all workers into one log. Each line has the name of its worker."""

import asyncio
import json
from contextlib import suppress
from typing import Final, TextIO

from pipeline.core.shown import safe
from pipeline.observability.logs import LogFormat

LINE_BYTES: Final = 1024 * 1024
"""Longer lines are split. Workers do not write such lines."""


class LogLines:
    """Copies the output of workers, line by line.

    Args:
        out: where the lines are written.
        log_format: the format of the workers' logs. A line becomes `worker-1 | line`, or a JSON object with the field
            `worker`.
    """

    def __init__(self, out: TextIO, log_format: LogFormat) -> None:
        self._out = out
        self._name_line = _as_json if log_format == "json" else _as_text

    async def copy(self, name: str, output: asyncio.StreamReader) -> None:
        """Copy the output of the worker *name* until it ends."""
        while raw := await _next_line(output):
            if line := raw.decode(errors="replace").rstrip("\r\n"):
                # Workers must not stop because no process reads the log any more.
                with suppress(OSError):
                    self._out.write(f"{self._name_line(name, line)}\n")
                    self._out.flush()


async def _next_line(output: asyncio.StreamReader) -> bytes:
    """The next line with its end; empty at the end of the output."""
    try:
        return await output.readuntil()
    except asyncio.IncompleteReadError as end:
        return end.partial
    except asyncio.LimitOverrunError as overrun:
        return await output.readexactly(overrun.consumed)


def _as_text(name: str, line: str) -> str:
    return f"{name} | {safe(line)}"


def _as_json(name: str, line: str) -> str:
    try:
        entry = json.loads(line)
    except ValueError:
        entry = None
    # The interpreter and C libraries write text in either log format.
    return json.dumps({**(entry if isinstance(entry, dict) else {"message": line}), "worker": name})
