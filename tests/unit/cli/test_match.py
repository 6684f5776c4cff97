"""The rows that `webhooks match` prints."""

from dataclasses import replace
from typing import Any

import pytest

from pipeline.cli.match import rows
from pipeline.cluster.verdicts import UNPROVED, verdicts
from pipeline.core.model import PlainEvent
from pipeline.core.subscription import DesiredStatus, Start, Subscription
from pipeline.core.webhook_ids import ADDRESSEE, SEAL, WebhookIds
from pipeline.subscriptions.filters import event_filter

IDS = WebhookIds((b"key",))
EVENT = PlainEvent("orders", 0, 0, b"customer-7", b'{"total": 5}', [("ce_type", b"order.paid")])


def subscription(document: dict[str, Any] | None = None, **more: Any) -> Subscription:
    wanted = None if document is None else event_filter(document, "filter")
    return Subscription("a", 1, "https://receiver.test", filter=wanted, **more)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (subscription(), [("a", "yes", "it has no filter")]),
        (subscription({"exact": {"/total": "5"}}), [("a", "yes", "its filter matches")]),
        (subscription(desired_status=DesiredStatus.PAUSED), [("a", "yes", "it has no filter; it is paused")]),
        (
            subscription({"exact": {"type": "x"}}, problem="url: is wrong"),
            [("a", "yes", "it is broken, and keeps every event until it is corrected: url: is wrong")],
        ),
        (
            subscription({"exact": {"type": "x", "/total": ["6", "7"]}}),
            [("a", "no", 'type is "order.paid"; it must be "x"'), ("", "", '/total is "5"; it must be "6" or "7"')],
        ),
        (
            subscription({"exact": {"type": "x"}}, topics=frozenset({"refunds", "payments"})),
            [("a", "no", 'topic is "orders"; it must be "payments" or "refunds"')],
        ),
    ],
)
def test_every_verdict_has_its_reasons(given: Subscription, wanted: list[tuple[str, str, str]]) -> None:
    [found] = verdicts([given], EVENT, None)
    assert rows(found) == wanted


def test_a_verdict_in_json_has_complete_values() -> None:
    [found] = verdicts([subscription({"not": {"prefix": {"key": ["customer-", "x" * 100]}}})], EVENT, None)
    assert found.as_document() == {
        "id": "a",
        "getsIt": False,
        "wish": "deliver",
        "problem": None,
        "reasons": [found.reasons[0]],
        "mismatches": [
            {
                "place": "key",
                "comparison": "prefix",
                "wanted": ("customer-", "x" * 100),
                "found": ("customer-7",),
                "isExcluded": True,
            }
        ],
    }


def test_an_addressed_event_is_only_for_its_addressee() -> None:
    picky = subscription({"exact": {"type": "x"}}, topics=frozenset({"refunds"}))
    every = replace(subscription(), id="b", starts={"orders": Start((7,), None)})
    for addressee, other in (picky, every), (every, picky):
        addressed = replace(EVENT, headers=[*EVENT.headers, *IDS.address(EVENT, addressee.id)])
        found = {each.subscription.id: each for each in verdicts([picky, every], addressed, IDS)}
        assert rows(found[addressee.id]) == [(addressee.id, "yes", "it was written for this subscription")]
        assert rows(found[other.id]) == [(other.id, "no", "it was written for another subscription")]


def test_an_address_without_a_valid_seal_reaches_no_subscription() -> None:
    forged = replace(EVENT, headers=[(ADDRESSEE, b"a"), (SEAL, b"v2,AAAA")])
    [found] = verdicts([subscription()], forged, IDS)
    assert rows(found) == [("a", "no", UNPROVED)]
    [found] = verdicts([subscription()], forged, None)
    assert found.gets_it, "with routing: key, events have no address"
