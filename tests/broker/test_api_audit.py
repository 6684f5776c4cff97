"""The audit log of the JSON API, and repeated requests, on an embedded broker."""

import asyncio
import json
from typing import Any

import pytest

from pipeline.cluster.remembered import REMEMBER_SECONDS
from pipeline.core.clock import SystemClock
from pipeline.kafka.topics import audit_topic
from tests.support.api import ApiCluster, ApiWorker, Client, document, problem, token
from tests.support.brokers import TestBroker

pytest_plugins = ("tests.support.api_fixtures",)

PATH = "/api/subscriptions"
KEY = {"Idempotency-Key": "order-7"}


async def recorded(cluster: ApiCluster) -> list[dict[str, Any]]:
    """The records of the audit log."""
    return [json.loads(each.value or b"") for each in await cluster.broker.read(audit_topic(cluster.name))]


async def sent(client: Client, body: Any, path: str = PATH, **headers: str) -> tuple[int, dict[str, Any]]:
    async with client.post(path, json=body, headers={**KEY, **headers}) as response:
        return response.status, await response.json(content_type=None)


async def total(client: Client) -> int:
    async with client.get(PATH) as response:
        return int((await response.json())["total"])


async def test_every_change_is_recorded_without_secrets(client: Client, cluster: ApiCluster) -> None:
    secret = document(auth={"type": "token", "token": {"value": "planted-secret"}})
    somebody = token({}, name="jane")
    calls: tuple[tuple[str, str, Any], ...] = (
        ("POST", PATH, secret),
        ("GET", f"{PATH}/sub-1", None),
        ("POST", f"{PATH}/sub-1/_pause", None),
        ("POST", f"{PATH}/sub-1/_changeConsumerStatus?status=STOPPED", None),
        ("POST", f"{PATH}/sub-1/_replay", {"timestamp": "2026-01-31T08:00:00Z"}),
        ("POST", f"{PATH}/none/_pause", None),
        ("DELETE", f"{PATH}/sub-1", None),
    )
    for method, path, body in calls:
        async with client.request(method, path, json=body, headers=somebody):
            pass
    found = await recorded(cluster)
    assert [(each["what"], each["subscription"], each["result"]) for each in found] == [
        ("createSubscription", "sub-1", "created"),
        ("pauseSubscription", "sub-1", "updated"),
        ("changeConsumerStatus", "sub-1", "updated"),
        ("replaySubscription", "sub-1", "updated"),
        ("deleteSubscription", "sub-1", "deleted"),
    ]
    assert all((each["who"], each["from"], each["tenant"]) == ("jane", "127.0.0.1", {}) for each in found)
    assert [each["revision"] for each in found] == sorted(each["revision"] for each in found)
    assert (found[2]["query"], found[3]["body"]["timestamp"]) == ({"status": "STOPPED"}, "2026-01-31T08:00:00Z")
    assert "planted-secret" not in json.dumps(found)


async def test_a_repeated_request_is_carried_out_once(client: Client, other: Client) -> None:
    first = await sent(client, document(None))
    assert first[0] == 201
    assert await sent(client, document(None)) == first
    assert await sent(other, document(None)) == first, "any worker gives the stored answer"
    assert await total(client) == 1
    again = await sent(client, document(None), **{"Idempotency-Key": "order-8"})
    assert again[1]["id"] != first[1]["id"]


async def test_an_idempotency_key_is_valid_for_one_request(client: Client, other: Client) -> None:
    await sent(client, document(None))
    for asked in (client, other):
        status, body = await sent(asked, {**document(None), "metadata": {"a": "b"}})
        assert (status, "the key was used for another request" in body["detail"]) == (422, True)
    assert await total(client) == 1


async def test_two_senders_can_use_the_same_idempotency_key(client: Client) -> None:
    first = await sent(client, document(None))
    second = await sent(client, document(None), **token({"customer": "acme"}))
    assert (second[0], second[1]["id"] != first[1]["id"]) == (201, True)


async def test_the_key_of_a_failed_request_may_be_used_again(client: Client) -> None:
    assert (await sent(client, document(callbackUrl="ftp://x")))[0] == 400
    assert (await sent(client, document()))[0] == 201


async def test_a_repeated_action_gets_the_first_answer_again(client: Client, other: Client) -> None:
    async with client.post(PATH, json=document()) as response:
        assert response.status == 201
    replay = {"timestamp": "2026-01-31T08:00:00Z"}
    first = await sent(client, replay, f"{PATH}/sub-1/_replay")
    assert first[1]["result"] == "updated"
    assert await sent(other, replay, f"{PATH}/sub-1/_replay") == first


class _ADayLater(SystemClock):
    def now(self) -> float:
        return super().now() + REMEMBER_SECONDS + 1


async def test_an_idempotency_key_can_be_used_again_after_a_day(client: Client, worker: ApiWorker) -> None:
    async with client.post(PATH, json=document()) as response:
        assert response.status == 201
    replay = {"timestamp": "2026-01-31T08:00:00Z"}, f"{PATH}/sub-1/_replay"
    first = await sent(client, *replay)
    worker.audit._clock = _ADayLater()
    second = await sent(client, *replay)
    assert second != first
    assert await sent(client, *replay) == second


async def test_a_request_too_large_for_its_audit_record_is_truncated(client: Client, cluster: ApiCluster) -> None:
    """If the broker refused this record, it would also refuse all later records."""
    asked = {"action": "pause", "filter": {"q": "ä" * 400_000}}
    body = json.dumps(asked, ensure_ascii=False).encode()
    async with client.post(f"{PATH}/_bulk", data=body, headers={**KEY, "Content-Type": "application/json"}) as response:
        assert response.status == 200
    async with client.post(PATH, json=document()) as response:
        assert response.status == 201
    large, small = await recorded(cluster)
    assert (large["what"], large["request"]["status"], large["leftOut"]) == ("changeSubscriptions", 200, ["body"])
    assert small["what"] == "createSubscription"


async def test_an_unconfirmed_change_is_recorded(
    client: Client, worker: ApiWorker, cluster: ApiCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that is not confirmed may have been made."""
    async with client.post(PATH, json=document()) as response:
        assert response.status == 201

    async def not_in_time(*_: Any) -> Any:
        raise TimeoutError

    monkeypatch.setattr(worker.store, "edit", not_in_time)
    for headers in ({}, KEY):
        async with client.post(f"{PATH}/sub-1/_pause", headers=headers) as response:
            assert "it may still be made" in (await problem(response, 503))["detail"]
    found = await recorded(cluster)
    assert [(each["what"], each["subscription"], each["result"]) for each in found[1:]] == [
        ("pauseSubscription", "sub-1", "unconfirmed")
    ] * 2


async def test_of_two_concurrent_requests_one_is_told_to_wait(client: Client) -> None:
    answers = await asyncio.gather(*(sent(client, document(None)) for _ in range(2)))
    assert sorted(status for status, _ in answers) == [201, 409]
    assert await total(client) == 1


async def test_an_invalid_idempotency_key_is_refused(client: Client) -> None:
    for key in ("", "ä", "x" * 256):
        async with client.post(PATH, json=document(None), headers={"Idempotency-Key": key}) as response:
            assert "allowed: 1 to 255 printable ASCII" in (await problem(response, 400))["detail"]


async def test_without_the_audit_topic_changes_are_still_made(
    embedded: TestBroker, worker: ApiWorker, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    worker.audit._topic = "missing.audit"
    with caplog.at_level("INFO"):
        for name in ("sub-1", "sub-2"):
            async with client.post(PATH, json=document(name)) as response:
                assert response.status == 201
    assert len([line for line in caplog.messages if line.startswith("createSubscription sub-")]) == 2
    assert len([line for line in caplog.messages if "a change was not recorded" in line]) == 1
    status, body = await sent(client, document(None))
    assert (status, "missing.audit: does not exist" in body["detail"]) == (503, True)
    assert embedded.mock is not None
