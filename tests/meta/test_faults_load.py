"""The events of the load in the fault runs, and how many of them have to count."""

import json
from collections import defaultdict

from tests.faults.load import PADDING, event, place, share, too_little

SUBSCRIPTIONS = [f"s-{number}" for number in range(20)]
EVENTS = 20 * 50


def test_subscriptions_take_turns_and_their_events_are_numbered() -> None:
    sequences = defaultdict(list)
    for number in range(EVENTS):
        subscription, body = event(number, SUBSCRIPTIONS)
        said = json.loads(body)
        assert said["subscription"] == subscription
        sequences[subscription].append(said["sequence"])
    assert dict(sequences) == {name: list(range(50)) for name in SUBSCRIPTIONS}


def test_every_subscription_has_events_of_every_size() -> None:
    sizes = defaultdict(set)
    for number in range(EVENTS):
        subscription, body = event(number, SUBSCRIPTIONS)
        sizes[subscription].add(len(json.loads(body)["padding"]))
    assert dict(sizes) == {name: set(PADDING) for name in SUBSCRIPTIONS}


def test_each_topic_has_events_of_every_subscription_and_size() -> None:
    seen = defaultdict(set)
    for number in range(EVENTS):
        subscription, body = event(number, SUBSCRIPTIONS)
        said = json.loads(body)
        seen[place(number, SUBSCRIPTIONS, ["a", "b"])].add((subscription, len(said["padding"])))
    assert seen["a"] == seen["b"] == {(name, size) for name in SUBSCRIPTIONS for size in PADDING}


def test_each_topic_has_events_of_every_round_of_subscriptions() -> None:
    first = [place(number, SUBSCRIPTIONS, ["a", "b"]) for number in range(len(SUBSCRIPTIONS))]
    assert first == ["a", "b"] * (len(SUBSCRIPTIONS) // 2)


def test_a_run_with_too_few_counted_events_is_broken() -> None:
    assert too_little(5_094, 36_783) == ["only 5094 of 36783 events of the load counted (14%), less than 90%"]
    assert too_little(0, 50)
    assert too_little(0, 0), "a run without a load proves nothing"


def test_a_run_with_most_events_counted_is_valid() -> None:
    assert too_little(90, 100) == []
    assert share(101, 100) == 1.0, "the load went on after its due events were counted"
