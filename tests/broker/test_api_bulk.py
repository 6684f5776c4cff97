"""Searching subscriptions, and changing all that match a filter, with the JSON API on an embedded broker."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from pipeline.kafka.topics import audit_topic
from tests.support.api import ApiCluster, ApiWorker, Client, document, problem, token
from tests.support.waiting import eventually

pytest_plugins = ("tests.support.api_fixtures",)

PATH = "/api/subscriptions"
BULK = f"{PATH}/_bulk"
ACME = {"customer": "acme"}
FAILED = [f"failed-{number}" for number in range(4)]
WELL = ["well-0", "well-1"]


@pytest.fixture
async def client(worker: ApiWorker, cluster: ApiCluster) -> AsyncIterator[Client]:
    """Four subscriptions with a receiver that is down (one is ACME's), and two healthy subscriptions."""
    async with worker.client() as client:
        for name in (*FAILED, *WELL):
            body = document(name, callbackUrl=f"https://{name.split('-')[0]}.example:8443/hook")
            metadata = ACME if name in {"failed-0", "well-0"} else {"customer": "other"}
            async with client.post(PATH, json={**body, "metadata": metadata}) as response:
                assert response.status == 201
        for number, name in enumerate(FAILED):
            await cluster.fail(name, "exception", f"connection refused by 192.0.2.{number}")

        async def all_known() -> bool:
            return await total(client, state="failure") == len(FAILED)

        await eventually(all_known, within_seconds=20, says=lambda: "the failures are not shown")
        yield client


async def total(client: Client, **query: str) -> int:
    async with client.get(PATH, params=query) as response:
        body = await response.json()
        assert response.status == 200, body
        return int(body["total"])


async def bulk(client: Client, body: Any, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    async with client.post(BULK, json=body, headers=headers or {}) as response:
        answer: dict[str, Any] = await response.json()
        assert response.status == 200, answer
        return answer


async def test_subscriptions_are_found_by_state(client: Client) -> None:
    assert await total(client, state="live") == 2
    assert await total(client, cause="exception") == 4
    assert await total(client, host="failed.example:8443") == 4
    assert await total(client, q="ACME") == 2
    assert await total(client, **{"metadata.customer": "acme"}) == 2
    assert await total(client, **{"metadata[customer]": "acme", "state": "failure"}) == 1
    async with client.get(f"{PATH}/failed-0") as response:
        delivery = (await response.json())["delivery"]
    assert (delivery["state"], delivery["cause"]["kind"]) == ("failure", "exception")
    assert delivery["failingSince"] is not None
    async with client.get(f"{PATH}?state=sick") as response:
        assert 'state[0]: "sick" is not allowed; allowed: broken, failure' in (await problem(response, 400))["detail"]


async def test_failures_are_grouped_and_limited_to_the_tenant(client: Client) -> None:
    async with client.get("/api/failures") as response:
        [group] = (await response.json())["groups"]
    assert (group["host"], group["kind"], group["count"], group["ids"]) == (
        "failed.example:8443",
        "exception",
        4,
        FAILED,
    )
    assert group["message"] == "connection refused by …"
    async with client.get("/api/failures", headers=token(ACME)) as response:
        [own] = (await response.json())["groups"]
    assert (own["count"], own["ids"], own["message"]) == (1, ["failed-0"], "connection refused by 192.0.2.0")
    async with client.get("/api/cluster", headers=token(ACME)) as response:
        shown = await response.json()
    assert (shown["totals"]["failure"], shown["totals"]["live"], shown["workers"]) == (1, 1, [])
    async with client.get("/api/cluster") as response:
        assert (await response.json())["totals"]["failure"] == 4


async def test_a_shared_outage_is_repaired_with_one_action(client: Client, cluster: ApiCluster) -> None:
    outage = {"action": "resume", "filter": {"cause": ["exception"], "host": "failed.example:8443"}}
    tried = await bulk(client, {**outage, "dryRun": True})
    assert (tried["matched"], tried["changed"], tried["ids"]) == (4, 0, FAILED)
    done = await bulk(client, outage)
    assert (done["matched"], done["changed"], done["problems"]) == (4, 4, [])
    [entry] = [
        found
        for each in await cluster.broker.read(audit_topic(cluster.name))
        if (found := json.loads(each.value or b""))["what"] == "changeSubscriptions"
    ]
    assert (entry["subscription"], [*entry["revisions"]]) == (None, FAILED)
    assert entry["body"]["filter"] == {"cause": ["exception"], "host": "failed.example:8443", "all": False}


async def test_a_subscription_that_can_t_be_changed_stops_no_other(client: Client) -> None:
    async with client.put(f"{PATH}/well-0", json={**document(None), "status": "CLOSED"}) as response:
        assert response.status == 200
    done = await bulk(client, {"action": "pause", "filter": {"all": True}})
    assert (done["matched"], done["changed"]) == (6, 5)
    assert [each["id"] for each in done["problems"]] == ["well-0"]
    again = await bulk(client, {"action": "pause", "filter": {"ids": ["well-1", "none"]}})
    assert (again["matched"], again["changed"], again["unchanged"]) == (1, 0, 1)


async def test_a_tenant_s_bulk_change_affects_only_its_subscriptions(client: Client) -> None:
    done = await bulk(client, {"action": "pause", "filter": {"all": True}}, token(ACME))
    assert (done["matched"], done["changed"], done["ids"]) == (2, 2, ["failed-0", "well-0"])
    done = await bulk(client, {"action": "stop", "filter": {"metadata": {"customer": "other"}}}, token(ACME))
    assert (done["matched"], done["changed"]) == (0, 0)
    done = await bulk(client, {"action": "stop", "filter": {"ids": ["well-1"]}}, token(ACME))
    assert (done["matched"], done["changed"]) == (0, 0)
    assert await total(client, state="paused") == 2


async def test_a_bulk_change_skips_a_subscription_that_changed_tenant(
    client: Client, worker: ApiWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit_all = worker.store.edit_all

    async def moved_meanwhile(*those: Any) -> None:
        moved = {**document(None), "metadata": {"customer": "other"}}
        async with client.put(f"{PATH}/well-0", json=moved) as response:
            assert response.status == 200
        await edit_all(*those)

    monkeypatch.setattr(worker.store, "edit_all", moved_meanwhile)
    done = await bulk(client, {"action": "pause", "filter": {"all": True}}, token(ACME))
    assert (done["matched"], done["changed"]) == (2, 1)
    assert done["problems"] == [{"id": "well-0", "problem": 'there is no subscription "well-0"'}]
    async with client.get(f"{PATH}/well-0") as response:
        assert (await response.json())["status"] == "ACCEPTED"


@pytest.mark.parametrize("confirmed", [0, 1])
async def test_an_unconfirmed_change_is_counted_and_recorded(
    client: Client, worker: ApiWorker, cluster: ApiCluster, monkeypatch: pytest.MonkeyPatch, confirmed: int
) -> None:
    edit_all = worker.store.edit_all

    async def not_all_in_time(wanted: Mapping[str, Any], tell: Any) -> None:
        await edit_all(dict([*wanted.items()][:confirmed]), tell)
        raise TimeoutError

    monkeypatch.setattr(worker.store, "edit_all", not_all_in_time)
    monkeypatch.setattr("pipeline.web.api.bulk.TOGETHER", 4)
    done = await bulk(client, {"action": "pause", "filter": {"all": True}})
    assert (done["matched"], done["changed"], done["unconfirmed"]) == (6, confirmed, 4 - confirmed)
    assert "2 subscriptions were not reached" in done["problems"][0]["problem"]
    assert {each["id"] for each in done["problems"]} == {*FAILED[confirmed:], "well-0"}
    newest = json.loads((await cluster.broker.read(audit_topic(cluster.name)))[-1].value or b"")
    assert (newest["changed"], newest["unconfirmed"]) == (confirmed, 4 - confirmed)
    assert [*newest.get("revisions", {})] == FAILED[:confirmed]


async def test_a_bulk_replay_requires_a_time(client: Client) -> None:
    replay = {"action": "replay", "filter": {"q": "well"}, "timestamp": "2026-01-31T08:00:00Z"}
    assert (await bulk(client, replay))["changed"] == 2
    async with client.get(f"{PATH}/well-1") as response:
        assert (await response.json())["resumeFrom"] == {"timestamp": "2026-01-31T08:00:00Z"}
    assert (await bulk(client, {**replay, "timestamp": "yesterday"}))["changed"] == 2
    async with client.get(f"{PATH}/well-1") as response:
        assert (await response.json())["resumeFrom"]["timestamp"].endswith("T00:00:00Z")


async def test_bad_bulk_changes_are_refused_with_an_explanation(client: Client) -> None:
    bad: tuple[tuple[Any, str], ...] = (
        ({}, "action: is required"),
        ({"action": "pause"}, "filter: is required"),
        (
            {"action": "pause", "filter": {}},
            "allowed: at least one of q, state, cause, host, metadata and ids; or only all: true",
        ),
        ({"action": "pause", "filter": {"all": True, "q": "a"}}, "or only all: true"),
        ({"action": "delete", "filter": {"all": True}}, "allowed: pause, resume, start, stop, replay"),
        ({"action": "replay", "filter": {"all": True}}, "timestamp: is required for a replay"),
        ({"action": "pause", "filter": {"all": True}, "timestamp": "2026-01-31T08:00:00Z"}, "timestamp: is required"),
        ({"action": "pause", "filter": {"state": ["sick"]}}, 'filter.state[0]: "sick" is not allowed'),
        ({"action": "pause", "filter": {"all": True}, "dryrun": True}, "dryrun: unknown field; did you mean dryRun?"),
    )
    wrong = []
    for body, sentence in bad:
        async with client.post(BULK, json=body) as response:
            detail = (await problem(response, 400))["detail"]
        if sentence not in detail:
            wrong.append((sentence, detail))
    assert wrong == []
