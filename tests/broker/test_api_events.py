"""Events, dead letters and signing secrets in the JSON API, on an embedded broker."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaTimeoutError

from pipeline.core.errors import BrokerError
from pipeline.core.explanation import LONGEST_FOUND
from pipeline.kafka.letters import LetterFacts
from pipeline.kafka.redrive import Redrive, Redriven
from pipeline.kafka.topics import audit_topic
from tests.support.api import HOOK, ApiCluster, ApiWorker, Client, document, problem, token
from tests.support.brokers import TestBroker

pytest_plugins = ("tests.support.api_fixtures",)

PATH = "/api/subscriptions"
ACME = {"customer": "acme"}
SECRET = "whsec_" + 32 * "A"
OLDER = "whsec_" + 32 * "B"


@pytest.fixture
def routing() -> str:
    return "match"


@pytest.fixture
def dlq() -> bool:
    return True


@pytest.fixture
def cluster(embedded: TestBroker, unique_name: Callable[[str], str], routing: str, dlq: bool) -> ApiCluster:
    return ApiCluster(embedded, unique_name("events"), routing=routing, dlq=dlq)


@pytest.fixture
async def client(worker: ApiWorker) -> AsyncIterator[Client]:
    """The subscription `paid` of ACME gets paid events, `every` gets all events."""
    async with worker.client() as client:
        for name, options in (("paid", {"filter": {"exact": {"/kind": "paid"}}}), ("every", {})):
            body = {**document(name, **options), "metadata": ACME if name == "paid" else {}}
            async with client.post(PATH, json=body) as response:
                assert response.status == 201, await response.text()
        yield client


async def post(client: Client, path: str, body: Any, status: int = 200, **options: Any) -> dict[str, Any]:
    async with client.post(path, json=body, **options) as response:
        if status != 200:
            return await problem(response, status)
        answer: dict[str, Any] = await response.json()
        assert response.status == 200, answer
        return answer


async def test_match_shows_the_beginning_of_a_long_text(client: Client) -> None:
    """The same MiB of an event could otherwise be repeated for each of a thousand subscriptions."""
    found = await post(client, "/api/match", {"value": {"kind": "x" * 1_000_000}})
    [mismatch] = found["subscriptions"][1]["mismatches"]
    assert mismatch["found"] == ["x" * LONGEST_FOUND + "…"]


async def test_match_shows_who_would_get_an_event_and_who_would_not(client: Client) -> None:
    found = await post(client, "/api/match", {"value": {"kind": "sent"}})
    assert (found["matched"], found["total"]) == (1, 2)
    assert [(each["id"], each["getsIt"]) for each in found["subscriptions"]] == [("every", True), ("paid", False)]
    [mismatch] = found["subscriptions"][1]["mismatches"]
    assert (mismatch["place"], mismatch["wanted"], mismatch["found"]) == ("/kind", ["paid"], ["sent"])
    assert (await post(client, "/api/match", {"value": '{"kind": "paid"}'}))["matched"] == 2
    own = await post(client, "/api/match", {"value": {"kind": "sent"}}, headers=token(ACME))
    assert ([each["id"] for each in own["subscriptions"]], own["total"]) == (["paid"], 1)
    for body, sentence in (
        ({"topic": "none", "value": 1}, 'topic: "none" is not a source topic'),
        ({"vlaue": 1}, "vlaue: unknown field; did you mean value?"),
        ({"limit": 0}, "limit: 0 is out of range; allowed: 1 to 1000"),
        ({"headers": {"a": 1}}, "headers.a: must be a string, not 1"),
    ):
        assert sentence in (await post(client, "/api/match", body, 400))["detail"]


async def test_match_shows_the_addressee_of_a_test_event(client: Client, cluster: ApiCluster) -> None:
    await post(client, f"{PATH}/paid/_test", {"value": {"kind": "sent"}})
    [record] = await cluster.broker.read(cluster.topic)
    headers = {name: value.decode() for name, value in record.headers}
    asked = {"key": "paid", "headers": headers, "value": {"kind": "sent"}}
    found = await post(client, "/api/match", asked)
    assert [(each["id"], each["getsIt"]) for each in found["subscriptions"]] == [("paid", True), ("every", False)]
    assert found["subscriptions"][1]["reasons"] == ["it was written for another subscription"]
    moved = await post(client, "/api/match", {**asked, "value": {"kind": "paid"}})
    assert moved["matched"] == 0, "the seal covers the value"


@pytest.mark.parametrize("routing", ["key"])
async def test_with_routing_by_key_match_requires_the_event_s_key(worker: ApiWorker) -> None:
    async with worker.client() as client:
        assert "key: is required" in (await post(client, "/api/match", {"value": 1}, 400))["detail"]
        assert (await post(client, "/api/match", {"key": "none"}))["total"] == 0


async def test_a_test_event_goes_to_one_subscription(client: Client, cluster: ApiCluster) -> None:
    sent = await post(client, f"{PATH}/paid/_test", {"value": {"secret": "planted-secret"}})
    [record] = await cluster.broker.read(cluster.topic)
    assert sent == {"id": "paid", "webhookId": f"{cluster.topic}-{record.partition}-{record.offset}"}
    assert json.loads(record.value or b"") == {"secret": "planted-secret"}
    assert ("webhooks-test", b"true") in record.headers
    await post(client, f"{PATH}/paid/_test", {})
    assert len(await cluster.broker.read(cluster.topic)) == 2
    audited = b"".join(each.value or b"" for each in await cluster.broker.read(audit_topic(cluster.name)))
    assert b"sendTestEvent" in audited
    assert b"planted-secret" not in audited
    assert "dlq.seal" in str(await post(client, f"{PATH}/paid/_test", {"headers": {"dlq.seal": "x"}}, 400))
    await post(client, f"{PATH}/every/_test", {}, 404, headers=token(ACME))


async def test_a_test_event_too_large_for_the_topic_is_refused(client: Client) -> None:
    asked = {"value": "x" * 1_048_000, "headers": {"note": "y" * 500}}
    refused = await post(client, f"{PATH}/paid/_test", asked, 400)
    assert refused["problems"][0].startswith("value: 1,048,000 bytes, with key and headers, are too many for topic ")


async def test_a_test_event_that_may_have_been_written_is_recorded(
    client: Client, cluster: ApiCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = AIOKafkaProducer.send_and_wait

    async def unanswered(self: AIOKafkaProducer, topic: str, *args: Any, **options: Any) -> Any:
        found = await sent(self, topic, *args, **options)
        if topic == cluster.topic:
            raise KafkaTimeoutError
        return found

    monkeypatch.setattr(AIOKafkaProducer, "send_and_wait", unanswered)
    assert "it may still be written" in (await post(client, f"{PATH}/paid/_test", {}, 503))["detail"]
    newest = json.loads((await cluster.broker.read(audit_topic(cluster.name)))[-1].value or b"")
    assert (newest["what"], newest["subscription"], newest["result"]) == ("sendTestEvent", "paid", "unconfirmed")


async def test_a_secret_is_rotated_and_shown_once(client: Client, worker: ApiWorker, cluster: ApiCluster) -> None:
    async with client.put(f"{PATH}/paid", json={**document(None, signing={"secrets": [OLDER]}), "metadata": ACME}):
        pass
    first = await post(client, f"{PATH}/paid/_rotateSecret", {})
    made = first["secret"]
    assert made.startswith("whsec_")
    stored = worker.registry.wire("paid")
    assert stored is not None
    signing = stored.configuration.entrypoint_configuration.signing
    assert signing is not None
    assert signing.secrets == [made, OLDER]
    second = await post(client, f"{PATH}/paid/_rotateSecret", {"secret": SECRET, "keep": 0})
    assert (second["secret"], second["result"]) == (None, "updated")
    assert "is already in use" in (await post(client, f"{PATH}/paid/_rotateSecret", {"secret": SECRET}, 409))["detail"]
    wrong = await post(client, f"{PATH}/paid/_rotateSecret", {"secret": "planted-secret"}, 400)
    assert "planted-secret" not in str(wrong)
    assert wrong["problems"] == ["secret: must begin with whsec_ or whsk_"]
    writer = token(ACME, "read write")
    assert (
        "needs the scope secrets"
        in (await post(client, f"{PATH}/paid/_rotateSecret", {}, 403, headers=writer))["detail"]
    )
    async with client.get(PATH) as response:
        text = await response.text()
    audited = b"".join(each.value or b"" for each in await cluster.broker.read(audit_topic(cluster.name))).decode()
    for secret in (made, SECRET, OLDER):
        assert secret not in text
        assert secret not in audited
    assert "rotateSecret" in audited


async def test_a_body_whose_fields_are_optional_may_be_left_out(client: Client) -> None:
    async with client.post(f"{PATH}/paid/_test") as response:
        assert response.status == 200, await response.text()
    async with client.post(f"{PATH}/_bulk") as response:
        assert response.status == 415


async def test_a_rotation_with_an_idempotency_key_is_refused(client: Client, worker: ApiWorker) -> None:
    before = worker.registry.wire("paid")
    async with client.post(f"{PATH}/paid/_rotateSecret", headers={"Idempotency-Key": "k"}) as response:
        assert response.status == 400
        detail = (await response.json())["detail"]
    assert "Idempotency-Key: is not allowed here" in detail
    assert "send a `secret` of your own" in detail
    assert worker.registry.wire("paid") == before


async def test_the_fate_of_an_event_is_shown(client: Client, cluster: ApiCluster) -> None:
    sent = await post(client, f"{PATH}/paid/_test", {})
    event = f"/api/events/{sent['webhookId']}"
    async with client.get(event) as response:
        body = await response.json()
    assert [(each["subscription"], each["webhookId"]) for each in body["items"]] == [("paid", sent["webhookId"])], body
    async with client.get(event, params={"subscription": "paid"}, headers=token(ACME)) as response:
        assert (await response.json())["items"][0]["subscription"] == "paid"
    for name, headers in (("every", token(ACME)), ("nobody", token(ACME)), ("nobody", {})):
        async with client.get(event, params={"subscription": name}, headers=headers) as response:
            await problem(response, 404)
    async with client.get(event, headers=token({"customer": "other"})) as response:
        assert (await response.json())["items"] == []
    async with client.get("/api/events/nonsense") as response:
        assert f"allowed: {cluster.topic}-<partition>-<offset>" in (await problem(response, 400))["detail"]
    async with client.get(f"/api/events/{cluster.topic}-2-0") as response:
        assert "partition 2 is not in topic" in (await problem(response, 400))["detail"]


async def test_attempts_are_listed_page_by_page(client: Client) -> None:
    async with client.get(f"{PATH}/paid/attempts") as response:
        assert (await response.json()) == {"items": [], "next": None, "searchedTo": None}
    async with client.get(f"{PATH}/every/attempts", headers=token(ACME)) as response:
        await problem(response, 404)
    async with client.get(f"{PATH}/paid/attempts?after=x") as response:
        assert 'after: "x" is not the `next` of an answer' in (await problem(response, 400))["detail"]


async def dead_letter(cluster: ApiCluster, name: str, reason: str = "rejected") -> None:
    """Write a dead letter like a worker."""
    facts = {"reason": reason, "subscription": name, "topic": cluster.topic, "webhook-id": f"{cluster.topic}-0-0"}
    headers = [(f"dlq.{fact}", value.encode()) for fact, value in facts.items()]
    async with cluster.broker.producer() as producer:
        await producer.send_and_wait(f"{cluster.name}-dlq", b'{"kind": "paid"}', key=b"k", headers=headers)


async def listed(client: Client, headers: dict[str, str] | None = None, **query: str) -> list[str]:
    async with client.get("/api/dead-letters", params=query, headers=headers or {}) as response:
        body = await response.json()
        assert response.status == 200, body
        return [each["subscription"] for each in body["items"]]


async def test_dead_letters_are_listed_and_redriven(client: Client, cluster: ApiCluster) -> None:
    for name, reason in (("paid", "rejected"), ("every", "exception"), ("gone", "rejected")):
        await dead_letter(cluster, name, reason)
    assert await listed(client) == ["gone", "every", "paid"]
    assert await listed(client, limit="1") == ["gone"]
    assert await listed(client, subscription="paid") == ["paid"]
    assert await listed(client, reason="exception") == ["every"]
    async with client.get("/api/dead-letters?since=2999-01-01T00:00:00Z") as response:
        assert "is in the future" in (await problem(response, 400))["detail"]
    assert await listed(client, token(ACME)) == ["paid"]
    for name, headers in (("every", token(ACME)), ("nobody", token(ACME)), ("nobody", {})):
        async with client.get(f"/api/dead-letters?subscription={name}", headers=headers) as response:
            await problem(response, 404)

    redrive = "/api/dead-letters/_redrive"
    tried = await post(client, redrive, {"subscription": "paid", "dryRun": True})
    assert (tried["redriven"], tried["changed"]) == (1, 0)
    assert await cluster.broker.read(cluster.topic) == []
    done = await post(client, redrive, {"subscription": "paid"}, headers=token(ACME))
    assert (done["redriven"], done["changed"]) == (1, 1)
    assert len(await cluster.broker.read(cluster.topic)) == 1
    for name in ("every", "none"):
        await post(client, redrive, {"subscription": name}, 404, headers=token(ACME))
    await post(client, redrive, {"subscription": "nobody"}, 404)
    refused = await post(client, redrive, {}, 400, headers=token(ACME))
    assert refused["problems"] == ["subscription: is required with a token that is limited to a tenant"]


async def test_a_redrive_is_not_refused_by_a_worker_that_lags(
    client: Client, other_worker: ApiWorker, cluster: ApiCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The embedded broker holds each fetch for the whole time, so this worker reads a new subscription after that time.
    monkeypatch.setattr("pipeline.kafka.following.EMBEDDED_WAIT_MS", 2_000)
    monkeypatch.setattr("pipeline.web.api.lookup.CATCH_UP_SECONDS", 30.0)
    async with other_worker.client() as other:
        await other_worker.registry.caught_up()
        await dead_letter(cluster, "new", "rejected")
        async with client.post(PATH, json=document("new")) as response:
            assert response.status == 201, await response.text()
        tried = await post(other, "/api/dead-letters/_redrive", {"subscription": "new", "dryRun": True})
        assert tried["redriven"] == 1


async def test_a_failed_redrive_reports_and_records_what_it_wrote(
    client: Client, cluster: ApiCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def one_and_no_more(_run: Redrive) -> AsyncIterator[Redriven]:
        yield Redriven(LetterFacts("letters-0-0", "paid", *[None] * 7), f"{cluster.topic}-0-0")
        raise BrokerError("topic letters: the broker is gone")

    monkeypatch.setattr(Redrive, "run", one_and_no_more)
    done = await post(client, "/api/dead-letters/_redrive", {})
    assert (done["redriven"], done["changed"], done["problems"]) == (1, 1, ["topic letters: the broker is gone"])
    newest = (await cluster.broker.read(audit_topic(cluster.name)))[-1]
    assert json.loads(newest.value or b"")["changed"] == 1


@pytest.mark.parametrize("dlq", [False])
async def test_without_their_topic_dead_letters_are_not_found(client: Client) -> None:
    async with client.get("/api/dead-letters") as response:
        assert "names no dead-letter topic" in (await problem(response, 404))["detail"]
    await post(client, "/api/dead-letters/_redrive", {}, 404)


async def test_invalid_requests_for_dead_letters_are_refused(client: Client) -> None:
    for query, sentence in (
        ("reason=bored", 'reason: "bored" is not allowed; allowed: rejected, server-error'),
        ("since=soon", 'since: "soon" is not a time; allowed: 10m'),
        ("limit=9999", "limit: 9999 is out of range; allowed: 1 to 1000"),
    ):
        async with client.get(f"/api/dead-letters?{query}") as response:
            assert sentence in (await problem(response, 400))["detail"]
    both = {"subscription": "paid", "skipped": True}
    assert "skipped: is only allowed without" in (await post(client, "/api/dead-letters/_redrive", both, 400))["detail"]
    assert HOOK not in str(await post(client, "/api/dead-letters/_redrive", {"limit": 0}, 400))
