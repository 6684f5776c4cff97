"""Planted secrets must not be in anything that a run writes or shows."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from pipeline.core.model import Status
from pipeline.kafka.topics import written_topics
from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.program import Webhooks
from tests.support.recorder import Call, Recorder, answer, recording
from tests.support.worker import ADMIN_TOKEN, Worker

pytestmark = pytest.mark.timeout(300)

CLIENT = {"clientId": "me", "clientSecret": "planted-client-secret"}
PLANTED: dict[str, Any] = {
    "basic": {"type": "basic", "basic": {"username": "me", "password": "planted-basic-password"}},
    "token": {"type": "token", "token": {"value": "planted-bearer-value"}},
    "oauth2": {"type": "oauth2", "oauth2": {"endpoint": "", **CLIENT}},
    "without-token": {"type": "oauth2", "oauth2": {"endpoint": "http://127.0.0.1:9", **CLIENT}},
}
SIGNING = "whsec_cGxhbnRlZC1zaWduaW5nLXNlY3JldC1wbGFudGVk"
HEADER = {"name": "X-Api-Key", "value": "planted-header-value"}
ROTATED = "whsec_cm90YXRlZC1zaWduaW5nLXNlY3JldC1wbGFudGVk"
SECRETS = [
    "planted-basic-password",
    "bWU6cGxhbnRlZC1iYXNpYy1wYXNzd29yZA==",  # the encoding of Basic
    "planted-bearer-value",
    "planted-client-secret",
    "planted-access-token",
    SIGNING.removeprefix("whsec_"),
    ROTATED.removeprefix("whsec_"),
    "planted-header-value",
    "planted-query-value",
    ADMIN_TOKEN,
]


async def issue(_: Call) -> web.Response:
    """A token endpoint."""
    return web.json_response({"access_token": "planted-access-token", "token_type": "Bearer", "expires_in": 3600})


async def echo(call: Call) -> web.Response:
    """A receiver that refuses each request, and repeats the request in its answer."""
    return web.Response(status=400, text=f"refused: {call.headers}")


@asynccontextmanager
async def failing(kafka: TestBroker, app: str, folder: Path) -> AsyncIterator[tuple[Cluster, Worker, Recorder]]:
    """A worker with failing subscriptions that have a secret in each kind of field."""
    settings = {"LOG_LEVEL": "DEBUG", "HOLD_SECONDS": "1"}
    async with recording() as recorder, cluster(kafka, app, folder, dlq=True, settings=settings) as found:
        worker = await found.start_worker()
        await found.until_ready()
        recorder.behaviours[""] = issue  # a request without a subscription
        for name, planted in PLANTED.items():
            auth = deepcopy(planted)
            if name == "oauth2":
                auth["oauth2"]["endpoint"] = recorder.url("token")
            fields = {
                "auth": auth,
                "headers": [HEADER],
                "signing": {"secrets": [SIGNING]},
                "callbackUrl": f"{recorder.url(name)}?key=planted-query-value",
            }
            await found.subscribe(recorder, name, endpoint={**fields, "retry": {"retryOption": "No Retry"}})
            recorder.behaviours[name] = echo
        await found.subscribe(recorder, "gone", endpoint={"headers": [HEADER]})
        recorder.behaviours["gone"] = answer(410)
        await found.produce([(name, b"body") for name in (*PLANTED, "gone")])
        await found.until_row("without-token", status=Status.FAILURE)
        await kafka.wait_for(f"{found.app}-dlq", 4)
        yield found, worker, recorder
        assert await worker.terminate() == 0


COMMANDS = (
    "subscriptions list",
    "subscriptions list -o json",
    "subscriptions get token",
    "subscriptions get basic -o json",
    "explain without-token",
    "attempts token",
    "dlq show",
    "check",
)


async def _act(worker: Worker, recorder: Recorder) -> list[str]:
    """Make a change of each kind with the API, with bodies that have secrets. Returns the answers."""
    one = "/api/subscriptions/token"
    body: dict[str, Any] = {
        "entrypointConfiguration": {"callbackUrl": f"{recorder.url('made')}?key=planted-query-value"}
    }
    body["entrypointConfiguration"] |= {"headers": [HEADER], "auth": PLANTED["basic"]}
    calls: list[tuple[str, str, Any]] = [
        ("POST", "/api/subscriptions", {"id": "made", "configuration": body}),
        ("PUT", "/api/subscriptions/made", {"configuration": body, "staus": "planted-header-value"}),
        ("POST", "/api/subscriptions/made/_rotateSecret", {"secret": ROTATED}),
        ("POST", f"{one}/_test", {}),
        ("POST", f"{one}/_resume", None),
        ("POST", "/api/subscriptions/_bulk", {"action": "resume", "filter": {"state": ["failure"]}}),
        ("POST", "/api/dead-letters/_redrive", {}),
        ("POST", "/api/match", {"key": "token"}),
        ("DELETE", "/api/subscriptions/made", None),
    ]
    answers = []
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}) as session:
        for method, path, json in calls:
            async with session.request(method, f"http://127.0.0.1:{worker.port}{path}", json=json) as response:
                answers.append(f"{response.status} {await response.text()}")
    assert [answer[:3] for answer in answers] == ["201", "400", *["200"] * 7], answers
    return answers


PAGES = ("/", "/subscriptions", "/workers", "/dead-letters", "/worker", "/lanes", "/metrics")
HEALTH = ("/health/ready", "/health/live")


async def _paths(found: Cluster, worker: Worker) -> list[str]:
    """Each page, and each GET of the API, for each subscription and an event of each."""
    [api] = [await worker.get("/api/openapi.json")]
    gets = [path for path, operations in api["paths"].items() if "get" in operations]
    ids = [f"{found.topic}-{each.partition}-{each.offset}" for each in await found.broker.read(found.topic)]
    names = [*PLANTED, "gone"]
    paths = [*PAGES, *HEALTH]
    for path in gets:
        places = ids if "{webhookId}" in path else names if "{id}" in path else [""]
        paths += [re.sub(r"\{\w+\}", place, path) for place in places]
    paths += [f"/{page}?id={name}" for page in ("subscription", "attempts") for name in names]
    return [*paths, *(f"/event?id={each}" for each in ids)]


async def test_planted_secrets_appear_nowhere(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async with failing(kafka, unique_name("secrets"), tmp_path) as (found, worker, recorder):
        shown = {f"change {number}": text for number, text in enumerate(await _act(worker, recorder))}
        shown |= {path: await worker.text(path) for path in await _paths(found, worker)}
        webhooks = Webhooks(found.environment)
        for command in COMMANDS:
            ended = await webhooks.run(*command.split())
            shown[command] = ended.out + ended.err
        for topic in (*written_topics(found.app), f"{found.app}-dlq"):
            shown[topic] = repr(await kafka.read(topic))
        shown["list"] = str(await found.store.list())
    shown["log"] = worker.output()
    empty = {place for place, text in shown.items() if not text or text == "[]"}
    assert not empty
    leaks = {(place, secret) for place, text in shown.items() for secret in SECRETS if secret in text}
    assert not leaks
