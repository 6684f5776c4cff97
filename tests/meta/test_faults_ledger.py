"""The ledger of the fault runs finds planted losses, repetitions and disorder, and nothing where nothing is wrong."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from pipeline.core.subscription import Qos
from tests.faults.ledger import Call, Delivery, Event, Promise, Verdict, judge, strangers

ORDERED = [Qos.AT_LEAST_ONCE, Qos.AT_MOST_ONCE]


def events(count: int, *, partitions: int = 1, subscription: str = "s") -> list[Event]:
    return [
        Event(
            f"t-{number % partitions}-{number // partitions}",
            subscription,
            "t",
            number % partitions,
            number // partitions,
            100.0 + number,
        )
        for number in range(count)
    ]


def call(event: Event, at: float, status: int = 200, attempt: int = 1) -> Call:
    return Call(at, event.key, attempt, status, event.subscription, event.checksum)


def verdict(level: Qos, found: Sequence[Event], calls: Sequence[Call], letters: Sequence[Delivery] = ()) -> Verdict:
    return judge(found, calls, letters, {"s": level, "r": level})[level]


@pytest.mark.parametrize("level", list(Qos))
def test_a_run_without_deviations_breaks_no_promise(level: Qos) -> None:
    found = events(5)
    made = verdict(level, found, [call(event, event.produced_at + 0.5) for event in found])
    assert (made.events, made.lost, made.repeated, made.misordered, made.given_up) == (5, 0, 0, 0, 0)
    assert made.quantile(0.5) == made.quantile(0.99) == pytest.approx(0.5)
    assert made.altered == 0
    assert Promise().broken({level: made}) == []
    assert strangers(found, [call(event, 1) for event in found], []) == []


def test_order_and_losses_are_counted_per_topic_and_partition() -> None:
    found = [Event(f"{topic}-0-{offset}", "s", topic, 0, offset, 100.0) for topic in ("t", "u") for offset in range(2)]
    [first, _, other, _] = found
    made = verdict(Qos.AT_MOST_ONCE, found, [call(other, 1), call(first, 2)])
    assert (made.misordered, made.lost, made.lost_of_one) == (0, 2, 1)


def test_an_event_that_never_arrived_counts_as_lost() -> None:
    found = events(3)
    made = verdict(Qos.AT_LEAST_ONCE, found, [call(found[0], 1), call(found[2], 3)])
    assert (made.lost, made.examples["lost"]) == (1, [("t-0-1", "s")])
    assert Promise().broken({Qos.AT_LEAST_ONCE: made}) == ["at-least-once: 1 lost, allowed 0: t-0-1 for s"]


def test_whether_a_refused_event_is_lost_depends_on_the_level() -> None:
    found = events(1)
    calls = [call(found[0], 1, status=503)]
    assert verdict(Qos.AT_LEAST_ONCE, found, calls).lost == 1
    made = verdict(Qos.AT_MOST_ONCE, found, calls)
    assert (made.lost, made.given_up) == (0, 1)
    assert Promise(refused=True).broken({Qos.AT_MOST_ONCE: made}) == []
    assert Promise(interrupted=True).broken({Qos.AT_MOST_ONCE: made}) == []
    assert Promise().broken({Qos.AT_MOST_ONCE: made}) == ["at-most-once: 1 given up, allowed 0: t-0-0 for s"]


def test_at_most_once_may_lose_no_more_than_was_claimed() -> None:
    found = events(3)
    made = verdict(Qos.AT_MOST_ONCE, found, [call(found[0], 1)])
    assert made.lost == 2
    assert Promise(interrupted=True, lost_at_most_once=2).broken({Qos.AT_MOST_ONCE: made}) == []
    assert Promise(interrupted=True, lost_at_most_once=1).broken({Qos.AT_MOST_ONCE: made}) != []
    assert Promise(refused=True).broken({Qos.AT_MOST_ONCE: made}) != []


def test_losses_at_level_at_most_once_count_by_subscription() -> None:
    mixed = [*events(3), *(replace(event, key=f"u{event.key}") for event in events(3, subscription="r"))]
    first_s, _, last_s, first_r, _, last_r = mixed
    two_late = [call(event, at) for at, event in enumerate([last_s, first_s, last_r, first_r])]
    made = verdict(Qos.AT_MOST_ONCE, mixed, two_late)
    assert (made.lost, made.lost_of_one, made.misordered, made.misordered_of_one) == (2, 1, 2, 1)
    assert Promise(interrupted=True, lost_at_most_once=1, late_at_most_once=1).broken({Qos.AT_MOST_ONCE: made}) == []
    assert Promise(interrupted=True).broken({Qos.AT_MOST_ONCE: made}) == [
        "at-most-once: 1 lost of one, allowed 0: t-0-1 for s, ut-0-1 for r",
        "at-most-once: 1 misordered of one, allowed 0: t-0-0 for s, ut-0-0 for r",
    ]


def test_auto_loses_nothing_unless_something_was_interrupted() -> None:
    made = verdict(Qos.AUTO, events(1), [])
    assert Promise(refused=True).broken({Qos.AUTO: made}) == ["auto: 1 lost, allowed 0: t-0-0 for s"]
    assert Promise(interrupted=True).broken({Qos.AUTO: made}) == []
    assert Promise().broken({Qos.NONE: verdict(Qos.NONE, events(1), [])}) == []


@pytest.mark.parametrize("level", list(Qos))
def test_a_wrong_body_counts_as_altered(level: Qos) -> None:
    found = events(2)
    right, cut = (call(event, 1) for event in found)
    made = verdict(level, found, [right, replace(cut, checksum=7)])
    assert (made.altered, made.examples["altered"]) == (1, [("t-0-1", "s")])
    anything = Promise(interrupted=True, refused=True, lost_at_most_once=9, late_at_most_once=9)
    assert anything.broken({level: made}) == [f"{level}: 1 altered, allowed 0: t-0-1 for s"]


def test_calls_without_a_known_event_are_reported() -> None:
    found = events(1)
    unknown = replace(call(found[0], 1), key="t-9-9")
    letters = [found[0].delivery, Delivery("u-0-0", "s")]
    assert strangers(found, [call(found[0], 1), unknown], letters) == [("t-9-9", "s"), ("u-0-0", "s")]


def test_a_call_for_another_subscription_is_reported() -> None:
    found = events(1)
    astray = replace(call(found[0], 1), subscription="r")
    assert strangers(found, [astray], [Delivery("t-0-0", "q")]) == [("t-0-0", "q"), ("t-0-0", "r")]
    assert verdict(Qos.AT_LEAST_ONCE, found, [astray], [Delivery("t-0-0", "q")]).lost == 1


def test_a_dead_lettered_event_does_not_count_as_lost() -> None:
    found = events(1)
    made = verdict(Qos.AT_LEAST_ONCE, found, [call(found[0], 1, status=422)], [found[0].delivery])
    assert (made.lost, made.dead_lettered, made.repeated) == (0, 1, 0)


@pytest.mark.parametrize("level", list(Qos))
def test_an_event_dead_lettered_twice_counts_as_repeated(level: Qos) -> None:
    found = events(1)
    made = verdict(level, found, [call(found[0], 1, status=422)], [found[0].delivery, found[0].delivery])
    assert (made.lost, made.repeated, made.dead_lettered) == (0, 1, 1)


@pytest.mark.parametrize("level", list(Qos))
def test_an_event_accepted_and_dead_lettered_counts_as_repeated(level: Qos) -> None:
    found = events(1)
    made = verdict(level, found, [call(found[0], 1)], [found[0].delivery])
    assert made.repeated == (0 if level is Qos.AT_MOST_ONCE else 1)


def test_an_event_accepted_twice_counts_as_repeated() -> None:
    found = events(2)
    calls = [call(found[0], 1), call(found[1], 2), call(found[1], 3, attempt=2)]
    made = verdict(Qos.AT_LEAST_ONCE, found, calls)
    assert (made.repeated, made.examples["repeated"]) == (1, [("t-0-1", "s")])
    assert Promise(interrupted=True).broken({Qos.AT_LEAST_ONCE: made}) == [], "an event may be repeated after a crash"
    assert Promise(refused=True).broken({Qos.AT_LEAST_ONCE: made}) != []


def test_some_levels_count_a_second_attempt_as_repeated() -> None:
    found = events(1)
    calls = [call(found[0], 1, status=0), call(found[0], 2)]
    assert verdict(Qos.AT_LEAST_ONCE, found, calls).repeated == 0
    made = verdict(Qos.AT_MOST_ONCE, found, calls)
    assert made.repeated == 1
    anything = Promise(interrupted=True, refused=True, lost_at_most_once=9, late_at_most_once=9)
    assert anything.broken({Qos.AT_MOST_ONCE: made}) == ["at-most-once: 1 repeated, allowed 0: t-0-0 for s"]


@pytest.mark.parametrize("level", ORDERED)
def test_an_event_first_seen_after_a_later_one_is_misordered(level: Qos) -> None:
    found = events(3)
    calls = [call(found[0], 1), call(found[2], 2), call(found[1], 3)]
    made = verdict(level, found, calls)
    assert (made.misordered, made.examples["misordered"]) == (1, [("t-0-1", "s")])
    assert len(Promise().broken({level: made})) == 1
    assert Promise(late_at_most_once=1).broken({level: made}) == (
        [] if level is Qos.AT_MOST_ONCE else ["at-least-once: 1 misordered, allowed 0: t-0-1 for s"]
    )


@pytest.mark.parametrize("level", ORDERED)
def test_the_order_of_first_calls_is_checked_per_lane(level: Qos) -> None:
    found = [*events(4, partitions=2), *events(1, subscription="r")]
    first, other, second, late, stranger = found
    calls = [call(second, 5), call(first, 4), call(other, 9), call(late, 10), call(stranger, 1), call(other, 11)]
    assert verdict(level, found, calls).misordered == 0


@pytest.mark.parametrize("level", [Qos.AUTO, Qos.NONE])
def test_levels_without_order_may_reorder_events(level: Qos) -> None:
    found = events(2)
    assert verdict(level, found, [call(found[1], 1), call(found[0], 2)]).misordered == 0


def test_each_level_has_its_own_verdict() -> None:
    mixed = [*events(1), Event("t-0-9", "r", "t", 0, 9, 1.0)]
    made = judge(mixed, [call(mixed[0], 2)], [], {"s": Qos.AT_LEAST_ONCE, "r": Qos.AT_MOST_ONCE})
    assert (made[Qos.AT_LEAST_ONCE].lost, made[Qos.AT_MOST_ONCE].lost) == (0, 1)


def for_both(count: int) -> list[Event]:
    """Events that are for two subscriptions."""
    return [each for event in events(count) for each in (event, replace(event, subscription="r"))]


@pytest.mark.parametrize("level", list(Qos))
def test_an_event_is_counted_for_each_of_its_subscriptions(level: Qos) -> None:
    found = for_both(3)
    made = verdict(level, found, [call(event, event.offset) for event in found])
    assert (made.events, made.lost, made.repeated, made.misordered) == (6, 0, 0, 0)
    assert strangers(found, [call(event, 1) for event in found], []) == []


def test_an_event_may_be_lost_for_one_of_two_subscriptions() -> None:
    found = for_both(2)
    made = verdict(Qos.AT_LEAST_ONCE, found, [call(event, 1) for event in found[:3]])
    assert (made.lost, made.examples["lost"]) == (1, [("t-0-1", "r")])


def test_one_call_for_each_subscription_is_no_repetition() -> None:
    found = for_both(1)
    calls = [call(event, 1) for event in found]
    assert verdict(Qos.AT_MOST_ONCE, found, calls).repeated == 0
    made = verdict(Qos.AT_MOST_ONCE, found, [*calls, calls[1]])
    assert (made.repeated, made.examples["repeated"]) == (1, [("t-0-0", "r")])


def test_a_dead_letter_counts_only_for_its_subscription() -> None:
    found = for_both(1)
    made = verdict(Qos.AT_LEAST_ONCE, found, [], [found[0].delivery])
    assert (made.dead_lettered, made.lost, made.examples["lost"]) == (1, 1, [("t-0-0", "r")])


@pytest.mark.parametrize("level", ORDERED)
def test_the_order_is_checked_for_each_subscription(level: Qos) -> None:
    found = for_both(2)
    first_s, first_r, second_s, second_r = found
    assert verdict(level, found, [call(first_s, 1), call(second_s, 2), call(first_r, 5), call(second_r, 6)]).lost == 0
    late = [call(first_s, 1), call(second_s, 4), call(second_r, 2), call(first_r, 3)]
    made = verdict(level, found, late)
    assert (made.misordered, made.examples["misordered"]) == (1, [("t-0-0", "r")])


def test_at_most_once_may_lose_one_event_in_each_partition() -> None:
    made = verdict(Qos.AT_MOST_ONCE, events(4, partitions=4), [])
    assert (made.lost, made.lost_of_one) == (4, 1)
    made = verdict(Qos.AT_MOST_ONCE, events(4, partitions=2), [])
    assert (made.lost, made.lost_of_one) == (4, 2)


def test_the_promises_of_two_faults_are_added() -> None:
    frozen = Promise(interrupted=True, lost_at_most_once=5, late_at_most_once=5)
    assert Promise() + Promise() == Promise()
    assert frozen + Promise(refused=True, lost_at_most_once=1) == Promise(
        interrupted=True, refused=True, lost_at_most_once=6, late_at_most_once=5
    )
