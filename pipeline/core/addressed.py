"""Events that a redrive or `send` wrote for one subscription, with `routing: match`. Pure.

Such an event goes only to this subscription, even if the filter does not match. (Either the subscription's receiver has
rejected the event before, or the user of `send` has named the subscription.) A sealed header contains the
subscription's id (webhook_ids.py).
"""

from collections.abc import Callable, Collection, Sequence
from typing import Final

from pipeline.core.model import Event
from pipeline.core.ports import Matching
from pipeline.core.subscription import Subscription
from pipeline.core.webhook_ids import WebhookIds, addressee_of

NOBODY: Final = b""
"""A key that no subscription has.

Events with this key are given up as undecodable: dead-lettered, or counted and logged.
"""


def _unknown(_topic: str, _number: int) -> str | None:
    return None


def is_addressed(event: Event) -> bool:
    """Whether *event* names its only subscription.

    The seal is not verified here, because only an event with a valid seal comes to the lane of its subscription.
    """
    return bool(event.headers) and addressee_of(event) is not None


class AddressedMatching:
    """Finds the subscription of an addressed event, and leaves all other events to another `Matching`.

    Args:
        matching: finds the subscriptions of all other events.
        ids: verifies the seal of an address.
        topic_id: returns the id of a source topic, given its name and a partition; None if unknown.
    """

    def __init__(
        self, matching: Matching, ids: WebhookIds, topic_id: Callable[[str, int], str | None] = _unknown
    ) -> None:
        self._matching = matching
        self._ids = ids
        self._topic_id = topic_id
        self._subscriptions: dict[bytes, Subscription] = {}

    def update(self, subscription_id: str, subscription: Subscription | None) -> None:
        """See `ports.Matching`."""
        self._matching.update(subscription_id, subscription)
        if subscription is None:
            self._subscriptions.pop(subscription_id.encode(), None)
        else:
            self._subscriptions[subscription_id.encode()] = subscription

    def keys(self, event: Event, among: Collection[bytes] | None = None) -> Sequence[bytes]:
        """See `ports.Matching`. The result for an addressed event may be the id of an unknown subscription."""
        addressee = addressee_of(event) if event.headers else None
        if addressee is None:
            return self._matching.keys(event, among)
        key = addressee if self._ids.is_for(event, addressee) and not self._is_too_new(addressee, event) else NOBODY
        return (key,) if among is None or key in among else ()

    def _is_too_new(self, key: bytes, event: Event) -> bool:
        """Whether this subscription began after the event, which was then for a deleted one with the same id."""
        subscription = self._subscriptions.get(key)
        if subscription is None:
            return False
        start = subscription.start_in(event.topic, event.partition, self._topic_id(event.topic, event.partition))
        return start is not None and event.offset < start
