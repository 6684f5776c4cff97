"""How a wanted subscription builds on the stored one, and on which revision a change depends. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from pipeline.core.errors import StaleError
from pipeline.core.shown import shown
from pipeline.subscriptions.envelope import to_document
from pipeline.subscriptions.schema import WireSubscription


@dataclass(frozen=True, slots=True)
class Condition:
    """What has to be true of a subscription right before a change.

    Attributes:
        revisions: it has one of these; None: any.
        exists: it exists, or it does not; None: either.
    """

    revisions: frozenset[int] | None = None
    exists: bool | None = None

    def check(self, subscription_id: str, revision: int | None) -> None:
        """Check the present *revision*; None: there is no such subscription.

        Raises:
            StaleError: the condition is not met.
        """
        name = f"subscription {shown(subscription_id)}"
        if revision is None:
            if self.exists or self.revisions is not None:
                raise StaleError(f"{name} does not exist; nothing was changed")
        elif self.exists is False:
            raise StaleError(f"{name} exists, at revision {revision}; nothing was changed")
        elif self.revisions is not None and revision not in self.revisions:
            allowed = " or ".join(map(str, sorted(self.revisions)))
            raise StaleError(f"{name} is at revision {revision}, not {allowed}; nothing was changed")


ALWAYS: Final = Condition()
ABSENT: Final = Condition(exists=False)


def batches(subscriptions: Iterable[WireSubscription], most: int) -> Iterator[list[WireSubscription]]:
    """Up to *most* subscriptions each; one that comes a second time begins a new batch, to build on the first."""
    batch: dict[str, WireSubscription] = {}
    for subscription in subscriptions:
        if subscription.id in batch or len(batch) >= most:
            yield list(batch.values())
            batch = {}
        batch[subscription.id] = subscription
    if batch:
        yield list(batch.values())


def with_states(wanted: WireSubscription, stored: WireSubscription) -> WireSubscription:
    """*wanted* with the states of the stored subscription that it leaves out."""
    unsaid = {"status", "consumer_status"} - wanted.model_fields_set
    return wanted.model_copy(update={name: getattr(stored, name) for name in unsaid})


def is_same(wanted: WireSubscription, stored: WireSubscription) -> bool:
    """Whether nothing would change. Applying the same `resumeFrom` again does not repeat the command."""
    if wanted.resume_from is None:
        stored = stored.model_copy(update={"resume_from": None})
    return to_document(wanted) == to_document(stored)


def without_old_command(wanted: WireSubscription, stored: WireSubscription | None) -> WireSubscription:
    """*wanted* without the `resumeFrom` of the stored subscription, which was a command to that revision alone."""
    if stored is None or wanted.resume_from is None or wanted.resume_from != stored.resume_from:
        return wanted
    return wanted.model_copy(update={"resume_from": None})
