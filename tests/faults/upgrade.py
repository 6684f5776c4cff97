"""A rolling upgrade under load: workers of an older build are replaced by workers of this build, one by one.

The older build is installed from its own lock file, and makes the subscriptions. So all that this build reads was
written by the older build: subscriptions, cursor rows, committed offsets with their notes, access tokens.
"""

import asyncio
import random
import sys
from pathlib import Path
from typing import Final

from tests.faults.fault import REFUSED, Fault
from tests.faults.stage import Stage
from tests.support.cluster import INSTALLED

TREE: Final = Path(__file__).parents[2]
WORKERS: Final = 3
READY_SECONDS: Final = 180.0


async def install(ref: str, folder: Path) -> Path:
    """Install the build at a git ref into a separate environment in *folder*, and return the directory of its programs.

    Raises:
        RuntimeError: the ref does not exist or can't be installed; contains the output.
    """
    source, environment = folder / "source", folder / "environment"
    if (environment / "bin/webhooks").exists():
        return environment / "bin"
    source.mkdir(parents=True)
    await _run("git", "-C", str(TREE), "archive", "--output", str(folder / "source.tar"), ref)
    await _run("tar", "--extract", "--file", str(folder / "source.tar"), "--directory", str(source))
    await _run(sys.executable, "-m", "venv", str(environment))
    pip = (str(environment / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    await _run(*pip, "--require-hashes", "--requirement", str(source / "requirements.lock"))
    await _run(*pip, "--no-deps", str(source))
    return environment / "bin"


def upgrade(older: Path) -> Fault:
    """The upgrade from the build whose programs are in the directory *older*."""
    about = "workers: rolling upgrade from an older build"
    return Fault("upgrade", about, _replace_all, REFUSED, {"workers"}, workers=WORKERS, programs=older)


async def _replace_all(stage: Stage, _: random.Random) -> None:
    """Stop the workers one after another, and start a worker of this build for each.

    Half of the receivers fail until the first worker is replaced, so that the new owner of a lane finds a row with
    attempts and the time of the next attempt. The receivers do not fail for longer, because waiting events are
    delivered one after another.
    """
    await stage.receiver.behave(name="errors", share=0.5, only="odd")
    await stage.steady(2)
    older = stage.workers
    stage.cluster.programs = INSTALLED
    for worker in older:
        code = await worker.terminate()
        if code:
            raise AssertionError(f"a worker ended with {code}: {worker.output()[-2000:]}")
        await stage.cluster.start_worker()
        await stage.cluster.until_ready(*stage.workers, within_seconds=READY_SECONDS)
        await stage.receiver.behave(name="ok")
        await stage.steady(1)


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}: {said.decode()[-1000:]}")
