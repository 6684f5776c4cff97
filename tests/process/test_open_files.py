"""A process raises its limit of open files (runtime/open_files.py)."""

import subprocess
import sys

PROGRAM = """
import resource
from pipeline.runtime.open_files import raise_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (300, 700))
print(raise_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_the_soft_limit_is_raised_to_the_hard_limit() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["700", "700", "700"]
