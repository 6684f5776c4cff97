"""Planted secrets must not be in anything that a run writes or shows."""

from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web

from pipeline.core.model import Status
from tests.support.brokers import TestBroker
from tests.support.cluster import cluster
from tests.support.recorder import Call, answer, recording
from tests.support.worker import ADMIN_TOKEN

pytestmark = pytest.mark.timeout(120)

PLANTED = {
    "basic": {"type": "basic", "basic": {"username": "me", "password": "planted-basic-password"}},
    "token": {"type": "token", "token": {"value": "planted-bearer-value"}},
    "oauth2": {
        "type": "oauth2",
        "oauth2": {"endpoint": "http://127.0.0.1:9/token", "clientId": "me", "clientSecret": "planted-client-secret"},
    },
}
SIGNING = "whsec_cGxhbnRlZC1zaWduaW5nLXNlY3JldC1wbGFudGVk"
HEADER = {"name": "X-Api-Key", "value": "planted-header-value"}
SECRETS = [
    "planted-basic-password",
    "bWU6cGxhbnRlZC1iYXNpYy1wYXNzd29yZA==",  # the encoding of Basic
    "planted-bearer-value",
    "planted-client-secret",
    SIGNING,
    "planted-header-value",
    ADMIN_TOKEN,
]


async def echo(call: Call) -> web.Response:
    """A receiver that refuses each request, and repeats the request in its answer."""
    return web.Response(status=400, text=f"refused: {call.headers}")


async def test_planted_secrets_appear_nowhere(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    settings = {"LOG_LEVEL": "DEBUG", "HOLD_SECONDS": "1"}
    async with (
        recording() as recorder,
        cluster(kafka, unique_name("secrets"), tmp_path, dlq=True, settings=settings) as found,
    ):
        worker = await found.start_worker()
        await found.until_ready()
        for name, auth in PLANTED.items():
            fields = {"auth": auth, "headers": [HEADER], "signing": {"secrets": [SIGNING]}}
            await found.subscribe(recorder, name, endpoint={**fields, "retry": {"retryOption": "No Retry"}})
            recorder.behaviours[name] = echo
        await found.subscribe(recorder, "gone", endpoint={"headers": [HEADER]})
        recorder.behaviours["gone"] = answer(410)
        names = [*PLANTED, "gone"]
        await found.produce([(name, b"body") for name in names])
        await found.until_row("oauth2", status=Status.FAILURE)
        await kafka.wait_for(f"{found.app}-dlq", 3)

        shown = {path: await worker.text(path) for path in ("/", "/metrics", "/lanes", "/health/ready", "/health/live")}
        for kind in ("subscriptions", "cursors"):
            shown[kind] = _raw(await kafka.read(f"{found.app}.{kind}"))
        shown["dead letters"] = _raw(await kafka.read(f"{found.app}-dlq"))
        shown["tokens"] = _raw(await kafka.read(f"{found.app}-tokens-changelog"))
        shown["list"] = str(await found.store.list())
        assert await worker.terminate() == 0
        shown["log"] = worker.output()
    assert all(shown[place] for place in ("/", "/metrics", "/lanes", "log", "subscriptions", "dead letters"))
    leaks = {(place, secret) for place, text in shown.items() for secret in SECRETS if secret in text}
    assert not leaks


def _raw(records: object) -> str:
    return repr(records)
