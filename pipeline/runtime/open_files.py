"""Raises the limit of open files as far as allowed, and reports a limit that is too low for a worker."""

import logging
import resource
from typing import Final

logger = logging.getLogger(__name__)

PER_PARTITION: Final = 2
"""Open files per partition: its cursor producer connects to the transaction coordinator and to the leader."""

BASE: Final = 200
"""Other files: the pages, Kafka clients, certificates, the log."""


def raise_limit() -> int:
    """Raise the soft limit of open files to the hard one; returns the resulting limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError) as error:  # macOS has a lower limit; a sandbox may forbid the change
        logger.warning("the limit of open files stays at %d: %s", soft, error)
        return soft
    logger.info("the limit of open files was raised from %d to %d", soft, hard)
    return hard


def shortage(limit: int, *, partitions: int, max_in_flight: int) -> str | None:
    """A sentence if *limit* is too low for a worker that owns all partitions; None if it is high enough.

    Args:
        limit: the limit of open files.
        partitions: the number of partitions of all source topics together.
        max_in_flight: the largest number of concurrent requests; the same number of connections may be idle.
    """
    needed = BASE + PER_PARTITION * partitions + 2 * max_in_flight
    if limit == resource.RLIM_INFINITY or limit >= needed:
        return None
    return (
        f"the limit of open files is {limit}; {partitions} partitions and WEBHOOKS_MAX_IN_FLIGHT={max_in_flight} may "
        f"need {needed}: raise it (ulimit -n, LimitNOFILE=, --ulimit nofile), or lower WEBHOOKS_MAX_IN_FLIGHT"
    )
