"""Plans the workers of this machine: their number, ports and directories.

supervisor ─┬─ worker-1   port P,     folder data/worker-1     stdout and stderr ─┐
            ├─ worker-2   port P + 1, folder data/worker-2     ───────────────────┤─▶ stderr of the supervisor
            └─ …                                                                  ┘   each line with its name
"""

import asyncio
import logging.config
import os
import sys
from pathlib import Path
from typing import Final

from pipeline.cli.supervisor.log_lines import LogLines
from pipeline.cli.supervisor.supervisor import Member, Supervisor
from pipeline.config.definition import configured_definition
from pipeline.config.settings import Settings, environment_with
from pipeline.config.web_address import check_web_port
from pipeline.core.errors import ConfigurationError
from pipeline.observability.logs import logging_config

LAST_PORT: Final = 65_535

_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")
"""The CPU limit of a container: `QUOTA PERIOD` in microseconds, or `max PERIOD`."""


def run(count: int | None) -> bool:
    """Run the workers until SIGINT or SIGTERM. Returns whether all of them stopped cleanly.

    Args:
        count: the number of workers; None for one on each core.

    Raises:
        ConfigurationError: the settings or the definition can't be used, or a port is taken.
    """
    settings = Settings()
    configured_definition(settings)
    members = plan(settings, core_count() if count is None else count)
    logging.config.dictConfig(logging_config(settings.log_format, settings.log_level))
    command = (sys.executable, "-P", "-m", "pipeline.cli.supervisor", str(os.getpid()))
    return asyncio.run(Supervisor(command, members, LogLines(sys.stderr, settings.log_format)).run())


def plan(settings: Settings, count: int) -> list[Member]:
    """*count* workers, each with its own port and directory.

    Raises:
        ConfigurationError: a port does not exist or is taken.
    """
    first = settings.web_port
    if first + count - 1 > LAST_PORT:
        raise ConfigurationError(
            f"WEBHOOKS_WEB_PORT: {count} workers from port {first} on need ports above {LAST_PORT}"
        )
    members = []
    for number in range(count):
        name, port = f"worker-{number + 1}", first + number
        check_web_port(settings.model_copy(update={"web_port": port}))
        own = {"web_port": str(port), "data_dir": str(settings.data_dir / name)}
        if settings.instance_id is not None:
            own["instance_id"] = f"{settings.instance_id}-{name}"
        members.append(Member(name, f"http://{settings.web_bind}:{port}/", environment_with(**own)))
    return members


def core_count(quota: Path = _QUOTA) -> int:
    """The number of cores that this process may use, according to its affinity and the CPU limit of its container."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        allowed, _, period = quota.read_text().partition(" ")
    except OSError:
        return cores
    return cores if not allowed.isdecimal() else max(1, min(cores, int(allowed) // int(period)))
