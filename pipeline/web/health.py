"""Whether the worker is live (restart it if not) and ready (wait if not). Pure, but for the answers made of it."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Literal

from aiohttp import web

from pipeline.observability.status import WorkerReport
from pipeline.web.problem import problem


def stalls(report: WorkerReport, now: float, stalled_after_seconds: float) -> list[str]:
    """Why the worker isn't live: the open partitions that have work and have not moved for too long."""
    return [
        f"partition {partition.partition} has work and has not moved for {now - partition.progressed_at:.0f} s"
        for partition in report.partitions
        if partition.is_open and partition.has_work and now - partition.progressed_at > stalled_after_seconds
    ]


def hindrances(report: WorkerReport) -> list[str]:
    """Why the worker isn't ready."""
    return [] if report.ready else [report.problem or "the worker is starting"]


def health(name: Literal["live", "ready"], reasons: Sequence[str], warnings: Sequence[str] = ()) -> web.Response:
    """200 if there is no reason against it, else 503 with the reasons; warnings change nothing but the body."""
    members: dict[str, Any] = {name: not reasons, "reasons": list(reasons)}
    if warnings:
        members["warnings"] = list(warnings)
    if reasons:
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, "; ".join(reasons), members=members)
    return web.json_response(members)
