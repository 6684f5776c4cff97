"""The models of answers about the whole cluster."""

from pipeline.cluster.state import State
from pipeline.config.schema import StrictModel
from pipeline.web.api.models import Limit


class PartitionOfWorker(StrictModel):
    """A partition of a source topic, as last reported by its owner."""

    topic: str
    partition: int
    committed: int | None
    dispatched: int
    end: int | None


class Worker(StrictModel):
    """A worker's last announcement. `isGone` is true if the announcement is more than ten seconds old."""

    name: str
    version: str
    started_at: str
    seen_at: str
    is_gone: bool
    ready: bool
    problem: str | None
    delivered_per_second: float
    failed_per_second: float
    queued: int
    in_flight: int
    warnings: list[str]
    partitions: list[PartitionOfWorker]


class Cluster(StrictModel):
    """The workers, and the number of subscriptions in each state. `problems` says what is unknown, and why."""

    workers: list[Worker]
    totals: dict[str, int]
    problems: list[str]
    is_current: bool


class FailureGroup(StrictModel):
    """Subscriptions that fail for the same reason at the same host.

    With the kind `all-dead-lettered`, they are live or behind, but at least their last three events were dead-lettered.
    """

    state: State
    kind: str
    message: str
    example: str
    host: str
    count: int
    since: str | None
    ids: list[str]
    waiting: int | None
    waiting_at_least: int
    waiting_at_most: int | None
    oldest_waiting_at: str | None


class FailureQuery(StrictModel):
    """How many groups to list."""

    limit: Limit = 100


class Failures(StrictModel):
    """The largest groups, largest first. `more` is the number of smaller groups."""

    groups: list[FailureGroup]
    more: int
