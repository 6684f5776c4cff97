"""The evidence in the error for a definition without routing, and a test of the whole text."""

import textwrap

import pytest

from pipeline.config.routing import WIDTH, unsaid_routing
from pipeline.core.subscription import Subscription
from pipeline.subscriptions.routing_evidence import EXAMPLES, evidence


def subscriptions(*names: str, filtered: bool = True) -> list[Subscription]:
    return [Subscription(name, 0, "https://h/", filter=(lambda _: True) if filtered else None) for name in names]


def orders(count: int) -> list[bytes | None]:
    return [f"order-{number}".encode() for number in range(count)]


def test_the_error_explains_how_to_choose_a_routing() -> None:
    found = evidence({"orders": orders(8)}, subscriptions("a", "b", filtered=False))
    assert str(unsaid_routing("/etc/orders.yaml: listeners[0].entrypoints[0]", found)) == textwrap.dedent("""\
        /etc/orders.yaml: listeners[0].entrypoints[0].routing: is required; allowed: match, key.
        There is no default, because a wrong routing would send events to receivers that must not get them, or
        dead-letter all events.
          match  An event is for every subscription whose topics and filter match it; a subscription with neither gets
                 every event. Use it for business topics, which are keyed by order or customer and shared by several
                 receivers.
          key    The key of an event is the id of its only subscription; an event with any other key is dead-lettered.
                 Use it if the producer already sets such keys, or if each receiver needs one strict order of all its
                 events.
        The newest 8 keys of orders: "order-0", "order-1", "order-2", "order-3", "order-4" and 3 more.
        With key, none of these events would be delivered: no key is the id of one of your 2 subscriptions.
        With match, 2 of your 2 subscriptions would get every event, because they have no filter.
        Write it next to the type of the entrypoint, such as routing: match, or set WEBHOOKS_ROUTING=match to leave
        the definition unchanged.""")


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ([], "Topic orders has no events yet, so its keys do not help to choose."),
        (
            [b"a", b"b", b"a"],
            "With key, all of these events would be delivered: their keys are the ids of 2 of ",
        ),
        (
            [b"a", b"x", None],
            "With key, 2 of these 3 events would be dead-lettered: only the other events have keys that are ids of ",
        ),
        ([b"x"], "With key, none of these events would be delivered: no key is the id of one of your 3 subscriptions."),
    ],
)
def test_the_evidence_for_a_routing_depends_on_the_keys(keys: list[bytes | None], named: str) -> None:
    assert any(each.startswith(named) for each in evidence({"orders": keys}, subscriptions("a", "b", "c")))


def test_without_subscriptions_only_the_keys_are_shown() -> None:
    assert evidence({"orders": [b"x"]}, []) == [
        'The newest 1 key of orders: "x".',
        "There are no subscriptions yet to compare these keys with.",
    ]


def test_each_topic_shows_its_keys() -> None:
    found = evidence({"orders": [b"a"], "payments": [b"x"], "refunds": []}, subscriptions("a", "b"))
    assert found[:3] == [
        'The newest 1 key of orders: "a".',
        'The newest 1 key of payments: "x".',
        "Topic refunds has no events yet, so its keys do not help to choose.",
    ]
    assert found[3].startswith("With key, 1 of these 2 events would be dead-lettered: ")


def test_keys_are_shown_escaped_and_limited() -> None:
    keys = [None, b"\xff\x00", b"\x1b[2J", b"k" * 1000, *orders(20)]
    shown = evidence({"orders": keys}, [])[0]
    assert shown.startswith(f'The newest {len(keys)} keys of orders: no key, 0xff00, "\\u001b[2J", "kkk')
    assert shown.endswith(f"and {len(keys) - EXAMPLES} more.")
    assert len(shown) < 3 * WIDTH
