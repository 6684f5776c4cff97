"""Where subscriptions begin with `startFrom: group:NAME`: where another consumer group stopped.

The group's offsets are read once, when the subscription is created. At that time, the group must have no members,
because they and the subscription would deliver the same events. If the group has committed nothing in a partition, it
has delivered none of the partition's events, so the subscription begins at the start of the partition. With
`autoOffsetReset: latest`, the group would not have got events from before it joined, so the subscription begins in such
a partition with the first event since its `startingAt`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import shown
from pipeline.kafka.group_positions import GroupPositions
from pipeline.kafka.log_positions import LogPositions
from pipeline.subscriptions.schema import WireStart


@dataclass(frozen=True, slots=True)
class StartGroup:
    """A consumer group, and the earliest time of events for the subscription (Unix seconds), if known."""

    name: str
    since: float | None


@dataclass(frozen=True, slots=True)
class GroupBeginning:
    """Where a subscription begins, by topic.

    Attributes:
        remark: a sentence about the beginning that the user should read, or None.
    """

    starts: Mapping[str, WireStart]
    remark: str | None = None


def begin_at_group(
    place: StartGroup,
    group: GroupPositions,
    found: Mapping[str, LogPositions],
    reset: Literal["earliest", "latest"],
    time_ms: int | None,
) -> GroupBeginning:
    """The beginning of a subscription.

    Args:
        place: the group and the time that the subscription names.
        group: the position of the group.
        found: the logs of the source topics.
        reset: `autoOffsetReset`, which decided where the group began in a partition without a committed offset.
        time_ms: the offsets of `place.since` in the logs.

    Raises:
        ConfigurationError: the beginning in a partition is unknown.
    """
    not_read = [
        f"{topic} {number}"
        for topic, log in found.items()
        for number, (begin, end) in enumerate(zip(log.begins, log.ends, strict=True))
        if begin < end and number not in group.offsets.get(topic, {})
    ]
    nothing = f"group {shown(place.name)} has committed nothing in {', '.join(not_read)}"
    if not_read and reset == "latest" and time_ms is None:
        raise ConfigurationError(
            f"startFrom: {nothing}, and autoOffsetReset is latest, so it is unknown which events are for the "
            "subscription; set startingAt to the time of its creation"
        )
    starts = {}
    for topic, log in found.items():
        committed = group.offsets.get(topic, {})
        otherwise = log.begins if reset == "earliest" or time_ms is None else log.since[time_ms]
        offsets = [committed.get(number, offset) for number, offset in enumerate(otherwise)]
        starts[topic] = wire_start(offsets, log.topic_id)
    event = "first event" if reset == "earliest" else "first event since its startingAt"
    return GroupBeginning(starts, f"the {nothing}; it begins there with the {event}" if not_read else None)


def refusals(name: str, group: GroupPositions, found: Mapping[str, LogPositions]) -> list[str]:
    """Reasons why a subscription can't continue from the group's position; empty if it can."""
    if not group.offsets:
        why = (
            f"has committed nothing in {', '.join(found)}: the name is wrong, its offsets have expired, or it has read "
            "nothing yet; in the last two cases, use startFrom: now, or a time"
        )
    elif group.members is None:
        why = (
            "hides its members, because it uses the protocol of KIP-848; copy its offsets to a group that has never "
            "had members, and name that one"
        )
    elif group.members:
        count = "a member" if group.members == 1 else f"{group.members} members"
        why = f"still has {count}, which would continue to deliver; stop its consumers, then apply this again"
    else:
        return [problem for topic, log in found.items() for problem in _of_another_topic(name, group, topic, log)]
    return [f"startFrom: group {shown(name)} {why}"]


def _of_another_topic(name: str, group: GroupPositions, topic: str, log: LogPositions) -> list[str]:
    path = f"startFrom: group {shown(name)}"
    offsets, before = group.offsets.get(topic, {}), group.topic_ids.get(topic)
    if None not in {before, log.topic_id} and before != log.topic_id:
        return [f"{path}: topic {topic} was recreated meanwhile: its id was {before} and is {log.topic_id}"]
    return [
        f"{path} has committed {offset} in partition {number} of {topic}, an offset of a former topic with this name: "
        + (f"the log ends at {log.ends[number]}" if number < len(log.ends) else f"there are {len(log.ends)} partitions")
        for number, offset in sorted(offsets.items())
        if number >= len(log.ends) or offset > log.ends[number]
    ]


def wire_start(offsets: Sequence[int], topic_id: str | None) -> WireStart:
    """These offsets in the form that a subscription's record has."""
    return WireStart.model_validate({"topicId": topic_id, "offsets": list(offsets)})
