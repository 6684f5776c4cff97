"""Decides which subscriptions would get an event, and explains why all others would not."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pipeline.core.addressed import AddressedMatching
from pipeline.core.explanation import Mismatch, explain
from pipeline.core.filters import EventFilter, ParsedEvent
from pipeline.core.matching import SubscriptionIndex
from pipeline.core.model import Event
from pipeline.core.subscription import DesiredStatus, Subscription
from pipeline.core.webhook_ids import ADDRESSEE, SEAL, WebhookIds, addressee_of

UNPROVED: Final = (
    f"the header {SEAL} does not prove that the pipeline wrote {ADDRESSEE}, so no subscription gets the event"
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a subscription would get the event.

    Attributes:
        mismatches: the failed comparisons, if it would not get the event.
        address: a sentence about the subscription that the event is addressed to; None if the event has no address.
    """

    subscription: Subscription
    gets_it: bool
    mismatches: Sequence[Mismatch] = ()
    address: str | None = None

    @property
    def reasons(self) -> list[str]:
        """The reasons for the verdict; each failed comparison is a sentence."""
        return [str(each) for each in self.mismatches] or [self._why()]

    def _why(self) -> str:
        wanted = self.subscription
        if self.address is not None and not self.gets_it:
            return self.address
        if wanted.problem is not None:
            return f"it is broken, and keeps every event until it is corrected: {wanted.problem}"
        why = self.address or ("its filter matches" if wanted.filter is not None else "it has no filter")
        return why if wanted.desired_status is DesiredStatus.DELIVER else f"{why}; it is {wanted.desired_status}"

    def as_document(self) -> dict[str, Any]:
        """The verdict as JSON."""
        wanted = self.subscription
        return {
            "id": wanted.id,
            "getsIt": self.gets_it,
            "wish": wanted.desired_status.value,
            "problem": wanted.problem,
            "reasons": self.reasons,
            "mismatches": [
                {
                    "place": each.place,
                    "comparison": each.dialect,
                    "wanted": each.wanted,
                    "found": each.found,
                    "isExcluded": each.is_excluded,
                }
                for each in self.mismatches
            ],
        }


def verdicts(subscriptions: Sequence[Subscription], event: Event, ids: WebhookIds | None) -> list[Verdict]:
    """The verdicts for the *subscriptions*, from the index that workers use, too.

    Args:
        subscriptions: the subscriptions that may get the event.
        event: the event, with the current time.
        ids: verifies the address of the event; None with `routing: key`, where events have no address.
    """
    index, parsed = SubscriptionIndex(), ParsedEvent(event)
    matching = index if ids is None else AddressedMatching(index, ids)
    for each in subscriptions:
        matching.update(each.id, replace(each, starts=None))  # the event is new, so it is after each start
    getting = set(matching.keys(event))
    addressee = None if ids is None else addressee_of(event)
    ours = others = None
    if ids is not None and addressee is not None:
        ours = "it was written for this subscription"
        others = "it was written for another subscription" if ids.is_for(event, addressee) else UNPROVED
    return [
        Verdict(each, gets_it=True, address=ours)
        if each.id.encode() in getting
        else Verdict(each, gets_it=False, address=others, mismatches=() if others else _mismatches(each, parsed))
        for each in subscriptions
    ]


def _mismatches(subscription: Subscription, parsed: ParsedEvent) -> list[Mismatch]:
    topic, topics = parsed.event.topic, subscription.topics
    if topics is not None and topic not in topics:
        return [Mismatch("topic", "exact", tuple(sorted(topics)), (topic,))]
    wanted = subscription.filter
    return explain(wanted.expression, parsed) if isinstance(wanted, EventFilter) else []
