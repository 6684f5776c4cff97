"""The rows that `webhooks match` prints."""

from typing import Any

import pytest

from pipeline.cli.match import rows
from pipeline.cluster.verdicts import verdicts
from pipeline.core.model import Record
from pipeline.core.subscription import DesiredStatus, Subscription
from pipeline.subscriptions.filters import event_filter

EVENT = Record("orders", 0, 0, b"customer-7", b'{"total": 5}', [("ce_type", b"order.paid")])


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
def test_every_subscription_is_told_with_its_reasons(given: Subscription, wanted: list[tuple[str, str, str]]) -> None:
    [found] = verdicts([given], EVENT)
    assert rows(found) == wanted


def test_a_verdict_as_json_has_the_values_uncut() -> None:
    [found] = verdicts([subscription({"not": {"prefix": {"key": ["customer-", "x" * 100]}}})], EVENT)
    assert found.as_document() == {
        "id": "a",
        "getsIt": False,
        "wish": "deliver",
        "problem": None,
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
