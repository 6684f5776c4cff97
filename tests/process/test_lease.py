"""The lease of a process that SIGSTOP has stopped for a while (core/lease.py)."""

import signal
import subprocess
import sys

import pytest


def test_a_lease_ends_even_if_its_process_is_stopped() -> None:
    program = (
        "import sys; from pipeline.core.lease import Lease; lease = Lease(0.2); lease.renew(lease.now())\n"
        "print(lease.is_held, flush=True); sys.stdin.read(); print(lease.is_held)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "True\n"
        worker.send_signal(signal.SIGSTOP)
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(0.5)
        worker.send_signal(signal.SIGCONT)
        assert worker.communicate()[0] == "False\n"
