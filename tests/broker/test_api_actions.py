"""The actions of the JSON API, on an embedded broker: their changes, and the effects in their answers."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.api import ApiCluster, ApiWorker, Client, document, problem
from tests.support.waiting import eventually

pytest_plugins = ("tests.support.api_fixtures",)

PATH = "/api/subscriptions"
ONE = f"{PATH}/sub-1"


@pytest.fixture
async def client(worker: ApiWorker) -> AsyncIterator[Client]:
    async with worker.client() as client:
        async with client.post(PATH, json=document()) as response:
            assert response.status == 201
        yield client


async def act(client: Client, action: str, body: Any = None, status: int = 200) -> dict[str, Any]:
    """Carry out an action, and return the answer."""
    async with client.post(f"{ONE}/{action}", **({} if body is None else {"json": body})) as response:
        if status != 200:
            return await problem(response, status)
        answer: dict[str, Any] = await response.json()
        assert response.status == 200, answer
        assert response.headers["ETag"] == f'"{answer["revision"]}"'
        return answer


async def states(client: Client) -> tuple[str, str]:
    """The status of the publisher, and of the consumer."""
    async with client.get(ONE) as response:
        shown = await response.json()
        return shown["status"], shown["consumerStatus"]


async def test_actions_change_the_states(client: Client) -> None:
    steps = (
        ("_pause", ("PAUSED", "STARTED"), "updated"),
        ("_pause", ("PAUSED", "STARTED"), "unchanged"),
        ("_resume", ("ACCEPTED", "STARTED"), "updated"),
        ("_stop", ("ACCEPTED", "STOPPED"), "updated"),
        ("_start", ("ACCEPTED", "STARTED"), "updated"),
        ("_changeConsumerStatus?status=STOPPED", ("ACCEPTED", "STOPPED"), "updated"),
        ("_changeConsumerStatus?status=STARTED", ("ACCEPTED", "STARTED"), "updated"),
    )
    for action, wanted, result in steps:
        answer = await act(client, action)
        assert (answer["id"], answer["result"], await states(client)) == ("sub-1", result, wanted), action


async def test_an_action_warns_of_a_subscription_that_sends_nothing(client: Client) -> None:
    assert (await act(client, "_pause"))["warning"] is None
    assert "until it is resumed" in (await act(client, "_start"))["warning"]
    assert (await act(client, "_resume"))["warning"] is None
    async with client.put(ONE, json={**document(), "startingAt": "2999-01-01T00:00:00Z"}) as response:
        assert response.status == 200
    assert "delivers nothing before its startingAt" in (await act(client, "_resume"))["warning"]


async def test_gravitee_s_actions_depend_on_whether_there_is_a_failure(client: Client, cluster: ApiCluster) -> None:
    assert "is not in FAILURE" in (await act(client, "_resumeFailure", status=409))["detail"]
    await cluster.fail("sub-1", "rejected", "the callback answered 410")

    async def is_known() -> bool:
        async with client.get(ONE) as response:
            return bool((await response.json())["delivery"]["state"] == "failure")

    await eventually(is_known, within_seconds=20, says=lambda: "the failure is not shown")
    for status in ("STARTED", "STOPPED"):
        detail = (await act(client, f"_changeConsumerStatus?status={status}", status=409))["detail"]
        assert "is in FAILURE; allowed: _resumeFailure" in detail
    assert (await act(client, "_resumeFailure"))["result"] == "updated"


async def test_an_action_on_a_closed_subscription_is_a_conflict(client: Client) -> None:
    async with client.put(ONE, json={**document(), "status": "CLOSED"}) as response:
        assert response.status == 200
    assert "is closed; apply it with status ACCEPTED" in (await act(client, "_resume", status=409))["detail"]


async def test_an_action_on_an_unknown_subscription_is_not_found(client: Client) -> None:
    for action in ("_pause", "_resume", "_start", "_stop"):
        async with client.post(f"{PATH}/none/{action}") as response:
            assert 'there is no subscription "none"' in (await problem(response, 404))["detail"]


async def test_a_replay_reports_its_effect_in_each_partition(client: Client, cluster: ApiCluster) -> None:
    events = [(b"sub-1", b"a"), (b"other", b"b"), (b"sub-1", b"c")]
    await cluster.broker.produce(cluster.topic, *events, partition=1)
    tried = await act(client, "_replay", {"partition": 1, "offset": 0, "dryRun": True})
    assert tried["result"] == "unchanged"
    done = await act(client, "_replay", {"partition": 1, "offset": 0})
    assert (done["result"], done["partitions"]) == ("updated", tried["partitions"])
    [effect] = done["partitions"]
    assert effect["partition"] == 1
    assert effect["sentence"] == "the position is unknown: no worker has opened this partition yet"
    done = await act(client, "_replay", {"timestamp": "2026-01-31T08:00:00Z"})
    assert [each["partition"] for each in done["partitions"]] == [0, 1]
    async with client.get(ONE) as response:
        assert (await response.json())["resumeFrom"] == {"timestamp": "2026-01-31T08:00:00Z"}


async def test_a_skip_reports_the_skipped_event(client: Client, cluster: ApiCluster) -> None:
    await cluster.broker.produce(cluster.topic, (b"sub-1", b"a"), partition=0)
    assert (await act(client, "_skip", {"partition": 0, "offset": 0}))["result"] == "updated"
    async with client.get(ONE) as response:
        skipped = {"topic": cluster.topic, "partition": 0, "offset": 0}
        assert (await response.json())["resumeFrom"] == {"skip": skipped}


async def test_bad_actions_are_refused_with_an_explanation(client: Client) -> None:
    bad: tuple[tuple[str, Any, str], ...] = (
        ("_skip", {}, "partition: is required"),
        ("_skip", {"partition": 0, "offset": -1}, "offset: -1 is out of range; allowed: 0 to"),
        ("_skip", {"partition": 9, "offset": 0}, "partition: 9 is not in topic"),
        ("_skip", {"partition": 0, "offset": 5}, "offset: 5 is not in partition 0"),
        ("_skip", {"partition": "0", "offset": 5}, 'partition: must be a whole number, not "0"'),
        ("_replay", {}, 'allowed: {"partition", "offset"} or {"timestamp"}'),
        ("_replay", {"partition": 0}, 'allowed: {"partition", "offset"} or {"timestamp"}'),
        ("_replay", {"timestamp": "soon"}, 'timestamp: "soon" is not a time; allowed: 10m'),
        ("_replay", {"timestamp": "1950-01-01T00:00:00Z"}, "is before 1970"),
        ("_replay", {"timestamp": "2026-01-01T00:00:00Z", "offset": 1}, "allowed:"),
        ("_replay", {"partition": 0, "offset": 7}, "offset: 7 is not in partition 0"),
        ("_replay", {"partition": 0, "offset": 0, "discardWaitng": True}, "did you mean discardWaiting?"),
        ("_changeConsumerStatus", None, "status: is required"),
        ("_changeConsumerStatus?status=FAILURE", None, 'status: "FAILURE" is not allowed; allowed: STARTED, STOPPED'),
        ("_pause?force=true", None, "force: unknown parameter"),
    )
    before = await states(client)
    wrong = []
    for action, body, sentence in bad:
        detail = (await act(client, action, body, status=400))["detail"]
        if sentence not in detail:
            wrong.append((sentence, detail))
    assert wrong == []
    assert await states(client) == before
