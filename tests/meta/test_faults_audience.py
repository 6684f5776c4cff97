"""The ledger of the fault runs and the filters of the pipeline agree on which subscriptions get an event."""

import json
from dataclasses import replace

import pytest
from aiokafka import ConsumerRecord

from pipeline.core.subscription import Qos, Routing
from pipeline.subscriptions.filters import event_filter
from tests.faults.audience import Choice, Subscriber, audience_of, chosen, in_rounds, key_alone, with_key
from tests.faults.load import event
from tests.faults.stage import LEVEL_OF

NAMES = list(LEVEL_OF)
MATCHING = [chosen(Routing.MATCH, NAMES[3]), with_key(NAMES[5]), in_rounds(7, 3), in_rounds(-2, 4)]


def a_record(
    number: int = 0, *, partition: int = 0, offset: int = 0, at: float = 100.0
) -> ConsumerRecord[bytes, bytes]:
    key, body = event(number, NAMES)
    return ConsumerRecord("t", partition, offset, int(at * 1000), 0, key.encode(), body, None, len(key), len(body), ())


def subscriber(choice: Choice | None = None, *starts: int, made_at: float = 50.0) -> Subscriber:
    return Subscriber(Qos.AUTO, choice or Choice(None, lambda *_: True), {"t": starts}, made_at)


def owes(found: Subscriber, record: ConsumerRecord[bytes, bytes]) -> bool:
    return list(audience_of({"s": found})(record)) == ["s"]


@pytest.mark.parametrize("choice", MATCHING)
def test_filter_and_ledger_select_the_same_events(choice: Choice) -> None:
    asked = event_filter(choice.filter, "filter")
    chosen_ones = 0
    for number in range(25 * len(NAMES)):
        key, body = event(number, NAMES)
        wanted = choice.has(key, json.loads(body)["sequence"])
        assert asked(a_record(number)) == wanted
        chosen_ones += wanted
    assert 0 < chosen_ones < 25 * len(NAMES)


def test_with_match_an_event_is_for_one_subscription_or_for_all() -> None:
    audience = audience_of({name: subscriber(chosen(Routing.MATCH, name)) for name in NAMES})
    for sequence, wanted in ((0, NAMES), (1, [NAMES[4]]), (9, [NAMES[4]]), (10, NAMES)):
        assert audience(a_record(sequence * len(NAMES) + 4)) == wanted


def test_with_key_an_event_is_for_the_subscription_in_its_key() -> None:
    audience = audience_of({name: subscriber(chosen(Routing.KEY, name)) for name in NAMES})
    assert audience(a_record(4)) == key_alone(a_record(4)) == [NAMES[4]]


def test_events_before_the_start_need_not_arrive() -> None:
    found = subscriber(None, 5, 9, made_at=200.0)
    owed = [owes(found, a_record(partition=partition, offset=offset)) for partition in (0, 1) for offset in (4, 5, 9)]
    assert owed == [False, True, True, False, False, True]


def test_without_a_start_all_events_of_a_partition_must_arrive() -> None:
    assert owes(subscriber(None, 5, 9), a_record(partition=2))


def test_each_topic_has_its_own_start() -> None:
    found = subscriber(None, 5, made_at=200.0)
    assert owes(found, replace(a_record(offset=4), topic="u"))
    assert not owes(found, a_record(offset=4))


def test_events_produced_after_the_creation_must_arrive() -> None:
    found = subscriber(None, 1000, made_at=200.0)
    assert owes(found, a_record(at=200.5))
    assert not owes(found, a_record(at=199.5))
