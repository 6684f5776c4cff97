"""The differences between two revisions of a subscription, as they are shown."""

from typing import Any

from pipeline.subscriptions.differences import differences, dropped
from pipeline.subscriptions.envelope import parse_subscription
from pipeline.subscriptions.schema import WireSubscription

OPTIONS = "configuration.entrypointConfiguration"
PROTECTED: dict[str, Any] = {
    "signing": {"secrets": ["whsec_YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh"]},
    "auth": {"type": "basic", "basic": {"username": "me", "password": "planted-1"}},
    "filter": {"exact": {"type": "order.paid"}},
}


def subscription(url: str = "https://example.com/hook?key=planted-2", **options: Any) -> WireSubscription:
    document = {"id": "a", "configuration": {"entrypointConfiguration": {"callbackUrl": url, **options}}}
    return parse_subscription(document)


def lines(wanted: WireSubscription, stored: WireSubscription | None) -> list[str]:
    return [str(each) for each in differences(wanted, stored)]


def test_fields_that_differ_are_named_with_both_values() -> None:
    before = subscription(retry={"maxAttempts": 3}, headers=[{"name": "X-Team", "value": "a"}])
    after = subscription(retry={"maxAttempts": 5}, rate={"eventsPerSecond": 2})

    found = lines(after, before)

    assert f"~ {OPTIONS}.retry.maxAttempts: 3 -> 5" in found
    assert f"+ {OPTIONS}.rate.eventsPerSecond: 2.0" in found
    assert f'- {OPTIONS}.headers[0].name: "X-Team"' in found
    assert lines(after, after) == []


def test_a_changed_secret_is_not_shown() -> None:
    before = subscription(**PROTECTED)
    after = subscription(
        "https://example.com/hook?key=planted-3",
        **{**PROTECTED, "auth": {"type": "basic", "basic": {"username": "me", "password": "planted-4"}}},
    )

    assert lines(after, before) == [
        f"~ {OPTIONS}.auth.basic.password: changed, a secret",
        f"~ {OPTIONS}.callbackUrl?key: changed, a secret",
    ]
    assert "planted" not in "\n".join((*lines(after, None), *lines(after, subscription()), *lines(before, after)))
    assert 'callbackUrl: "https://example.com/hook?key=********"' in "\n".join(lines(after, None))


def test_removed_protection_causes_a_warning() -> None:
    bare, protected = subscription(), subscription(**PROTECTED)

    assert dropped(bare, protected) == (
        "signing is removed: requests will not be signed; auth is removed: requests will have no credentials; "
        "filter is removed: it will no longer limit the events"
    )
    assert dropped(subscription(**{**PROTECTED, "auth": {"type": "none"}}), protected) == (
        "auth is removed: requests will have no credentials"
    )
    for wanted, stored in ((protected, bare), (protected, protected), (bare, subscription(auth={"type": "none"}))):
        assert dropped(wanted, stored) is None
