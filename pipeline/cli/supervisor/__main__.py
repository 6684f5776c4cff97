"""Runs `webhooks worker` under a supervisor. When the supervisor has ended, the worker gets SIGTERM.

    python -m pipeline.cli.supervisor PARENT

Without this, the workers of a killed supervisor would continue to run and keep their ports. This works on Linux only.
Elsewhere, such workers have to be stopped by hand.
"""

import ctypes
import os
import signal
import sys
from typing import Final

from pipeline.cli.command_group import PROGRAM
from pipeline.cli.main import whole_group
from pipeline.cli.running import end_cleanly_on_signals

_SET_SIGNAL_AT_PARENT_END: Final = 1
"""PR_SET_PDEATHSIG of <sys/prctl.h>."""


def follow(parent: int) -> None:
    """Have the kernel send SIGTERM when the parent process *parent* ends. Exit if *parent* has ended already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_SIGNAL_AT_PARENT_END, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(0)


if __name__ == "__main__":
    end_cleanly_on_signals()
    follow(int(sys.argv[1]))
    whole_group().main(["worker"], prog_name=PROGRAM)
