"""Decides which subscriptions would get an event, and names the failed comparisons of all others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.explanation import Mismatch, explain
from pipeline.core.filters import EventFilter, ParsedEvent
from pipeline.core.matching import SubscriptionIndex
from pipeline.core.model import Event
from pipeline.core.subscription import DesiredStatus, Subscription


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a subscription would get the event, and if not, which comparisons failed."""

    subscription: Subscription
    gets_it: bool
    mismatches: Sequence[Mismatch] = ()

    @property
    def reasons(self) -> list[str]:
        """The reasons for the verdict; each failed comparison is a sentence."""
        return [str(each) for each in self.mismatches] or [self._why()]

    def _why(self) -> str:
        wanted = self.subscription
        if wanted.problem is not None:
            return f"it is broken, and keeps every event until it is corrected: {wanted.problem}"
        why = "its filter matches" if wanted.filter is not None else "it has no filter"
        return why if wanted.desired_status is DesiredStatus.DELIVER else f"{why}; it is {wanted.desired_status}"

    def as_document(self) -> dict[str, Any]:
        """The verdict as JSON."""
        wanted = self.subscription
        return {
            "id": wanted.id,
            "getsIt": self.gets_it,
            "wish": wanted.desired_status.value,
            "problem": wanted.problem,
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


def verdicts(subscriptions: Sequence[Subscription], event: Event) -> list[Verdict]:
    """The verdicts for the *subscriptions*, from the index that workers use, too."""
    index, parsed = SubscriptionIndex(), ParsedEvent(event)
    for each in subscriptions:
        index.update(each.id, each)
    getting = set(index.keys(event))
    return [
        Verdict(each, gets_it=True)
        if each.id.encode() in getting
        else Verdict(each, gets_it=False, mismatches=_mismatches(each, parsed))
        for each in subscriptions
    ]


def _mismatches(subscription: Subscription, parsed: ParsedEvent) -> list[Mismatch]:
    topic, topics = parsed.event.topic, subscription.topics
    if topics is not None and topic not in topics:
        return [Mismatch("topic", "exact", tuple(sorted(topics)), (topic,))]
    wanted = subscription.filter
    return explain(wanted.expression, parsed) if isinstance(wanted, EventFilter) else []
