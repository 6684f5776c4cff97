"""What the load of the faults consists of."""

import json
from collections import defaultdict

from tests.faults.load import PADDING, event

SUBSCRIPTIONS = [f"s-{number}" for number in range(20)]
EVENTS = 20 * 50


def test_every_subscription_has_its_turn_and_counts_its_own_events() -> None:
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
