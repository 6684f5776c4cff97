"""`webhooks dlq` on either kind of broker."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pipeline.core.dead_letter import DeadLetterRecord
from pipeline.core.model import PlainEvent
from pipeline.core.outcome import Rejected
from pipeline.core.policy import Reason
from pipeline.core.webhook_ids import WebhookIds
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.dead_letters import KafkaDeadLetterWriter
from tests.support.batches import Written, batch
from tests.support.brokers import TestBroker
from tests.support.program import Webhooks, application


@pytest.fixture
async def webhooks(broker: TestBroker, tmp_path: Path, unique_name: Callable[[str], str]) -> Webhooks:
    """An application whose topics exist: three partitions for events, two for dead letters."""
    name = unique_name("cli")
    source = await broker.create_topic(f"{name}-events", 3)
    dlq = await broker.create_topic(f"{name}-dlq", 2)
    return application(tmp_path, name, broker.bootstrap, source=source, dlq=dlq)


Died = tuple[str | None, Reason]
"""The subscription of the event, and the reason of the dead letter."""


@pytest.fixture
def bury(webhooks: Webhooks, broker: TestBroker) -> "Bury":
    ids = WebhookIds.from_secret_keys([webhooks.environment["WEBHOOKS_SECRET_KEYS"]])
    return Bury(webhooks.environment["WEBHOOKS_APP"], broker, ids)


class Bury:
    """Writes dead letters like a worker. The events have the offsets 0, 1, 2 and so on."""

    def __init__(self, name: str, broker: TestBroker, ids: WebhookIds) -> None:
        self._ids = ids
        self._source, self._dlq = f"{name}-events", f"{name}-dlq"
        self._connection = KafkaConnection((broker.bootstrap,), embedded=broker.embedded)
        self._number = 0

    async def __call__(self, *deaths: Died, source: str | None = None, body: bytes = b"") -> None:
        letters = KafkaDeadLetterWriter(self._connection, self._dlq, pytest.fail, self._ids)
        for subscription, reason in deaths:
            key = None if subscription is None else subscription.encode()
            headers = [("content-type", b"text/x"), ("authorization", b"not-for-your-eyes")]
            event = PlainEvent(source or self._source, 0, self._number, key, body or b"body %d" % self._number, headers)
            outcome = Rejected(404, b"no") if reason == "rejected" else None
            await letters.put(DeadLetterRecord(event, reason, outcome, attempts=1, subscription=subscription))
            self._number += 1
        await letters.close()

    def first_ids(self, *numbers: int) -> list[str]:
        return [f"{self._source}-0-{number}" for number in numbers]


async def redriven(webhooks: Webhooks, broker: TestBroker) -> list[str]:
    """The sorted webhook-ids that the events in the source topic had before their redrive."""
    records = await broker.read(f"{webhooks.environment['WEBHOOKS_APP']}-events")
    return sorted(dict(record.headers)["dlq.webhook-id"].decode() for record in records)


def kinds(out: str) -> Sequence[str]:
    return [line.split()[0] for line in out.splitlines()]


async def test_letters_are_listed_without_possible_secrets(webhooks: Webhooks, bury: Bury) -> None:
    await bury(("sub-1", "rejected"), ("sub-2", "rejected"), (None, "undecodable"))

    table = await webhooks.done("dlq", "list")
    listed = json.loads(await webhooks.done("dlq", "list", "--output", "json"))

    header, *rows = table.splitlines()
    assert header.split()[:4] == ["DEAD-LETTER", "WHEN", "SUBSCRIPTION", "REASON"]
    assert sorted(row.split()[2:5] for row in rows) == [
        ["-", "undecodable", "-"],
        ["sub-1", "rejected", "404"],
        ["sub-2", "rejected", "404"],
    ]
    assert sorted(letter["webhookId"] for letter in listed) == bury.first_ids(0, 1, 2)
    assert "not-for-your-eyes" not in table
    assert "not-for-your-eyes" not in json.dumps(listed)


async def test_letters_are_listed_newest_first_and_by_subscription(webhooks: Webhooks, bury: Bury) -> None:
    await bury(("sub-2", "rejected"), ("sub-1", "rejected"), ("sub-1", "rejected"), ("sub-1", "rejected"))

    listed = await webhooks.run("dlq", "list", "--limit", "2", "-o", "json")
    newest = json.loads(listed.out)
    assert "there are more: these are the newest 2" in listed.err
    of_one = json.loads(await webhooks.done("dlq", "list", "--subscription", "sub-2", "-o", "json"))

    assert [letter["webhookId"] for letter in newest] == bury.first_ids(3, 2)
    assert [letter["webhookId"] for letter in of_one] == bury.first_ids(0)


async def test_one_letter_is_shown_in_full_without_secrets(webhooks: Webhooks, bury: Bury) -> None:
    await bury(("sub-1", "rejected"), body=b'{"order": 7, "customer": {"apiKey": "not-for-your-eyes"}}')
    [listed] = json.loads(await webhooks.done("dlq", "list", "--json"))

    text = await webhooks.done("dlq", "show", listed["place"])
    document = json.loads(await webhooks.done("dlq", "show", listed["place"], "--json"))

    assert "not-for-your-eyes" not in text + json.dumps(document)
    assert document["facts"]["reason"] == "rejected"
    assert document["facts"]["webhook-id"] == bury.first_ids(0)[0]
    assert document["response"] == "no"
    assert document["headers"] == [["content-type", "text/x"], ["authorization", "********"]]
    assert json.loads(document["value"]["text"]) == {"order": 7, "customer": {"apiKey": "********"}}
    lines = [line.split() for line in text.splitlines()]
    assert ["status", "404"] in lines
    assert ["authorization", "********"] in lines
    assert ["body,", "57", "bytes:"] in lines


async def test_a_missing_letter_is_reported_in_a_sentence(webhooks: Webhooks) -> None:
    topic = f"{webhooks.environment['WEBHOOKS_APP']}-dlq"
    for place, sentence in (
        (f"{topic}-0-5", f'PLACE: there is no dead letter "{topic}-0-5", or it was deleted'),
        (f"{topic}-9-0", f"PLACE: 9 is not a partition of topic {topic}; allowed: 0 to 1"),
        ("5", f'PLACE: "5" is not a dead letter; allowed: {topic}-<partition>-<offset>'),
    ):
        ended = await webhooks.run("dlq", "show", place)
        assert (ended.code, ended.out) == (1, "")
        assert sentence in ended.err


async def test_letters_are_redriven_unchanged_and_each_one_once(
    webhooks: Webhooks, broker: TestBroker, bury: Bury
) -> None:
    await bury(("sub-1", "rejected"), ("sub-2", "rejected"))

    first = await webhooks.done("dlq", "redrive")
    again = await webhooks.done("dlq", "redrive")
    await bury(("sub-1", "rejected"))
    later = await webhooks.done("dlq", "redrive")

    assert first.splitlines()[-1] == "2 redriven, 0 skipped"
    assert again == "0 redriven, 0 skipped\n"
    assert later.splitlines()[-1] == "1 redriven, 0 skipped"
    assert await redriven(webhooks, broker) == bury.first_ids(0, 1, 2)
    records = await broker.read(f"{webhooks.environment['WEBHOOKS_APP']}-events")
    record = next(each for each in records if each.value == b"body 0")
    assert record.key == b"sub-1"
    assert [name for name, _ in record.headers] == ["content-type", "authorization", "dlq.webhook-id", "dlq.seal"]
    assert f" sub-1 -> {record.topic}-{record.partition}-{record.offset}, webhook-id {bury.first_ids(0)[0]}\n" in first


async def test_letters_that_were_redriven_are_marked(webhooks: Webhooks, bury: Bury) -> None:
    await bury(("sub-1", "rejected"), ("sub-9", "unknown-subscription"), ("sub-2", "rejected"))
    await bury(("sub-1", "rejected"), source="another-topic")

    async def marked() -> list[str]:
        listed = json.loads(await webhooks.done("dlq", "list", "-o", "json"))
        return sorted(letter["subscription"] for letter in listed if letter["redriven"])

    assert await marked() == []
    await webhooks.done("dlq", "redrive", "--subscription", "sub-2")
    assert await marked() == ["sub-2"]
    await webhooks.done("dlq", "redrive")
    assert await marked() == ["sub-1", "sub-2"]
    await webhooks.done("dlq", "redrive", "--skipped")
    assert await marked() == ["sub-1", "sub-2", "sub-9"]
    header, *rows = (await webhooks.done("dlq", "list")).splitlines()
    assert header.split()[5] == "REDRIVEN"
    assert sorted((row.split()[2], row.split()[5]) for row in rows if " sub-1 " not in row) == [
        ("sub-2", "yes"),
        ("sub-9", "yes"),
    ]


async def test_a_letter_with_a_binary_header_name_can_be_redriven(webhooks: Webhooks, broker: TestBroker) -> None:
    name = webhooks.environment["WEBHOOKS_APP"]
    headers = [(b"x-\xff", b"1"), (b"dlq.reason", b"rejected"), (b"dlq.\xff", b"2")]
    await broker.append(f"{name}-dlq", batch(Written(b"body", b"sub-1", headers)))

    assert " sub-1 " in await webhooks.done("dlq", "list")
    assert (await webhooks.done("dlq", "redrive")).endswith("1 redriven, 0 skipped\n")

    (record,) = await broker.read(f"{name}-events")
    assert (record.key, record.value, record.headers) == (b"sub-1", b"body", (("x-\\xff", b"1"),))


async def test_letters_are_listed_by_reason_and_by_time(webhooks: Webhooks, bury: Bury) -> None:
    await bury(("sub-1", "rejected"), ("sub-9", "unknown-subscription"))

    async def listed(*options: str) -> list[str]:
        out = await webhooks.done("dlq", "list", "--output", "json", *options)
        return [letter["subscription"] for letter in json.loads(out)]

    assert await listed("--reason", "unknown-subscription") == ["sub-9"]
    assert await listed("--reason", "rejected", "--subscription", "sub-9") == []
    assert sorted(await listed("--since", "2020-01-01T00:00:00Z")) == ["sub-1", "sub-9"]
    assert sorted(await listed("--since", "yesterday")) == ["sub-1", "sub-9"]
    for since in ("soon", "2026-01-31T12:00:00", "2999-01-01T00:00:00Z"):
        ended = await webhooks.run("dlq", "list", "--since", since)
        assert (ended.code, ended.err.partition(" is ")[0]) == (1, f'Error: --since: "{since}"')


async def test_a_dry_run_does_nothing(webhooks: Webhooks, broker: TestBroker, bury: Bury) -> None:
    await bury(("sub-1", "rejected"), ("sub-9", "unknown-subscription"))

    out = await webhooks.done("dlq", "redrive", "--dry-run")

    assert sorted(line.partition(" ")[2].partition(" ")[0] for line in out.splitlines()) == ["redrive", "skip", "would"]
    assert " sub-1 (reason rejected)\n" in out
    assert out.endswith("1 would be redriven, 1 skipped\n")
    assert await redriven(webhooks, broker) == []
    assert (await webhooks.done("dlq", "redrive")).endswith("1 redriven, 1 skipped\n")


async def test_a_redrive_prints_json_for_programs(webhooks: Webhooks, bury: Bury) -> None:
    await bury(("sub-1", "rejected"), ("sub-9", "unknown-subscription"))

    for options in (["--dry-run"], []):
        ended = await webhooks.run("dlq", "redrive", "--json", *options)
        assert ended.code == 0
        done, skipped = sorted(map(json.loads, ended.out.splitlines()), key=lambda each: each["subscription"])
        assert (done["subscription"], done["whyNot"], skipped["to"]) == ("sub-1", None, None)
        assert skipped["whyNot"] is not None
        assert (done["to"] is None) == bool(options)
        assert ended.err.endswith("redriven, 1 skipped\n")


async def test_letters_beyond_the_limit_are_left_for_the_next_run(
    webhooks: Webhooks, broker: TestBroker, bury: Bury
) -> None:
    for _ in range(5):
        await bury(("sub-1", "rejected"))

    counts = [(await webhooks.done("dlq", "redrive", "--limit", "2")).splitlines()[-1] for _ in range(4)]

    assert counts == [f"{count} redriven, 0 skipped" for count in (2, 2, 1, 0)]
    assert await redriven(webhooks, broker) == bury.first_ids(0, 1, 2, 3, 4)


async def test_redrives_of_different_scopes_redrive_each_letter_once(
    webhooks: Webhooks, broker: TestBroker, bury: Bury
) -> None:
    await bury(("sub-1", "rejected"), ("sub-2", "rejected"), ("sub-1", "rejected"))
    redrive = ("dlq", "redrive")

    of_one = await webhooks.done(*redrive, "--subscription", "sub-1")
    of_all = await webhooks.done(*redrive)
    await bury(("sub-1", "rejected"))
    of_all_again = await webhooks.done(*redrive)
    of_one_again = await webhooks.done(*redrive, "--subscription", "sub-1")

    counts = [out.splitlines()[-1] for out in (of_one, of_all, of_all_again, of_one_again)]
    assert counts == [f"{count} redriven, 0 skipped" for count in (2, 1, 1, 0)]
    assert await redriven(webhooks, broker) == bury.first_ids(0, 1, 2, 3)


async def test_letters_that_can_t_succeed_are_redriven_only_on_request(
    webhooks: Webhooks, broker: TestBroker, bury: Bury
) -> None:
    await bury(("sub-8", "unknown-subscription"), ("sub-9", "unknown-subscription"), (None, "undecodable"))
    await bury(("sub-1", "rejected"), source="another-topic")

    passed_over = await webhooks.done("dlq", "redrive")
    of_one = await webhooks.done("dlq", "redrive", "--subscription", "sub-9")
    on_request = await webhooks.done("dlq", "redrive", "--skipped")
    on_request_again = await webhooks.done("dlq", "redrive", "--skipped")

    assert passed_over.endswith("0 redriven, 4 skipped\n")
    assert "sub-8: unknown-subscription; --skipped or --subscription redrives it" in passed_over
    assert "sub-1: it came from topic another-topic, not from " in passed_over
    assert of_one.endswith("1 redriven, 0 skipped\n")
    assert on_request.endswith("2 redriven, 0 skipped\n")
    assert on_request_again == "0 redriven, 0 skipped\n"
    assert await redriven(webhooks, broker) == bury.first_ids(0, 1, 2)


async def test_letters_of_a_deleted_subscription_are_listed(webhooks: Webhooks, broker: TestBroker, bury: Bury) -> None:
    await broker.create_topic(f"{webhooks.environment['WEBHOOKS_APP']}.subscriptions", 1)
    await bury(("deleted", "rejected"))

    assert len(json.loads(await webhooks.done("dlq", "list", "--subscription", "deleted", "--json"))) == 1
    ended = await webhooks.run("dlq", "list", "--subscription", "nobody")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == 'Error: there is no subscription "nobody", and no such dead letter names it\n'


async def test_a_redrive_for_an_unknown_subscription_fails(webhooks: Webhooks, broker: TestBroker, bury: Bury) -> None:
    await broker.create_topic(f"{webhooks.environment['WEBHOOKS_APP']}.subscriptions", 1)
    await bury(("sub-1", "unknown-subscription"))
    redrive = ("dlq", "redrive", "--subscription", "sub-1")

    for words in (redrive, (*redrive, "--dry-run")):
        ended = await webhooks.run(*words)
        assert (ended.code, ended.out) == (1, "")
        assert ended.err == (
            'Error: there is no subscription "sub-1"; create it first: without it, its dead letters would be '
            "dead-lettered again\n"
        )
    document = {"id": "sub-1", "configuration": {"callbackUrl": "https://example.com/hook"}}
    await webhooks.done("subscriptions", "apply", "-f", "-", stdin=json.dumps(document).encode())
    assert (await webhooks.done(*redrive)).endswith("1 redriven, 0 skipped\n")


async def test_an_impossible_command_is_reported_in_a_sentence(broker: TestBroker, tmp_path: Path) -> None:
    without = application(tmp_path, "without", broker.bootstrap, source="events")
    missing = application(tmp_path, "missing", broker.bootstrap, source="events", dlq="no-such-topic")

    for command in ("list", "redrive"):
        ended = await without.run("dlq", command)
        assert (ended.code, ended.err) == (1, "Error: dlq: the definition names no dead-letter topic\n")
    ended = await missing.run("dlq", "list")
    assert ended.code == 1
    assert ended.err.startswith("Error: topic no-such-topic: does not exist")
    assert (await without.run("dlq", "redrive", "--skipped", "--subscription", "sub-1")).code == 2
