"""Applies edits to stored subscriptions, and checks the revision on which an edit depends. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from pipeline.config.definition import Definition
from pipeline.config.schema import read
from pipeline.core.errors import ConflictError, PreconditionError
from pipeline.core.shown import shown
from pipeline.core.subscription import Subscription
from pipeline.subscriptions.envelope import to_document
from pipeline.subscriptions.schema import ResumeFrom, WireSubscription
from pipeline.subscriptions.start_offsets import with_topic


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold for a subscription immediately before a change.

    Attributes:
        revisions: the subscription must have one of these revisions; None: any revision.
        exists: whether the subscription must exist; None: no condition.
    """

    revisions: frozenset[int] | None = None
    exists: bool | None = None

    def check(self, subscription_id: str, revision: int | None) -> None:
        """Check the current *revision*; None: the subscription does not exist.

        Raises:
            PreconditionError: the condition is not met.
        """
        name = f"subscription {shown(subscription_id)}"
        if revision is None:
            if self.exists or self.revisions is not None:
                raise PreconditionError(f"{name} does not exist; nothing was changed")
        elif self.exists is False:
            raise PreconditionError(f"{name} exists, at revision {revision}; nothing was changed")
        elif self.revisions is not None and revision not in self.revisions:
            allowed = " or ".join(map(str, sorted(self.revisions)))
            raise PreconditionError(f"{name} is at revision {revision}, not {allowed}; nothing was changed")


@dataclass(frozen=True, slots=True)
class Change:
    """What a change did.

    Attributes:
        revision: the newest revision: the one that the command wrote, or the existing one if nothing changed.
        advisory: a warning about a subscription that works (subscriptions/advisories.py).
    """

    id: str
    revision: int
    what: Literal["created", "updated", "unchanged", "deleted"]
    advisory: str | None = None


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of some fields.

    Attributes:
        update: the new values.
        always: write the subscription even if no field changes, because only a new revision clears a FAILURE.
        seen: returns the subscription, or None if the author of the edit may not see it: the edit then fails with the
            error for an unknown subscription. Called immediately before the edit, because the subscription may have
            moved to another tenant.
    """

    update: Mapping[str, object]
    always: bool = False
    seen: Callable[[Subscription | None], Subscription | None] = lambda found: found

    def made(self, stored: WireSubscription) -> WireSubscription:
        """The *stored* subscription with the edit applied.

        Raises:
            ConflictError: the subscription is closed.
        """
        check_open(stored)
        # A stored resumeFrom is a command of the stored revision only.
        return stored.model_copy(update={"resume_from": None, **self.update})


PAUSE: Final = Edit({"status": "PAUSED"})
RESUME: Final = Edit({"status": "ACCEPTED", "consumer_status": "STARTED"}, always=True)
START: Final = Edit({"consumer_status": "STARTED"}, always=True)
STOP: Final = Edit({"consumer_status": "STOPPED"})


def unless_well(edit: Edit, *, is_well: bool) -> Edit:
    """*edit*, a resume or a start. If the subscription *is_well*, the edit is written only if it changes a field."""
    return replace(edit, always=False) if is_well else edit


def going_on_from(where: Mapping[str, object], definition: Definition | None = None) -> Edit:
    """The edit that moves a subscription to another position.

    Args:
        where: the position, as in `resumeFrom`.
        definition: names the source topics; may be None if *where* is a time.

    Raises:
        ConfigurationError: *where* is not a valid `resumeFrom`, or names no source topic.
    """
    resume = read(ResumeFrom, where, "resumeFrom")
    return Edit({"resume_from": resume if definition is None else with_topic(resume, definition)}, always=True)


ALWAYS: Final = Condition()
ABSENT: Final = Condition(exists=False)


def check_open(stored: WireSubscription) -> None:
    """Check that a subscription may be edited.

    Raises:
        ConflictError: the subscription is closed.
    """
    if stored.status == "CLOSED":
        raise ConflictError(f"status: {stored.id!r} is closed; apply it with status ACCEPTED to open it again")


def taken_back(subscription_id: str) -> PreconditionError:
    """The error for a conditional change if another change was written just before it."""
    return PreconditionError(
        f"subscription {shown(subscription_id)} was changed at the same moment; this change was undone"
    )


def batches(subscriptions: Iterable[WireSubscription], most: int) -> Iterator[list[WireSubscription]]:
    """Batches of up to *most* subscriptions. A repeated id begins a new batch: its change builds on the first."""
    batch: dict[str, WireSubscription] = {}
    for subscription in subscriptions:
        if subscription.id in batch or len(batch) >= most:
            yield list(batch.values())
            batch = {}
        batch[subscription.id] = subscription
    if batch:
        yield list(batch.values())


def kept(wanted: WireSubscription) -> frozenset[str]:
    """The fields that keep their stored values when *wanted* replaces a stored subscription."""
    return frozenset({"status", "consumer_status", "start", "start_from"}) - (wanted.model_fields_set - {"start_from"})


def with_states(wanted: WireSubscription, stored: WireSubscription) -> WireSubscription:
    """*wanted*, with the stored `status` and `consumerStatus` if it lacks them."""
    unsaid = {"status", "consumer_status"} - wanted.model_fields_set
    return wanted.model_copy(update={name: getattr(stored, name) for name in unsaid})


def is_same(wanted: WireSubscription, stored: WireSubscription) -> bool:
    """Whether *wanted* changes nothing. Applying the same `resumeFrom` again does not repeat the command."""
    if wanted.resume_from is None:
        stored = without_command(stored)
    return to_document(wanted) == to_document(stored)


def without_command(stored: WireSubscription) -> WireSubscription:
    """*stored* without its `resumeFrom`, which is a command of one revision only."""
    return stored.model_copy(update={"resume_from": None})


def without_old_command(wanted: WireSubscription, stored: WireSubscription | None) -> WireSubscription:
    """*wanted* without a `resumeFrom` that equals the stored one, which is a command of the stored revision only."""
    if stored is None or wanted.resume_from is None or wanted.resume_from != stored.resume_from:
        return wanted
    return without_command(wanted)
