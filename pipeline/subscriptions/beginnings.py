"""Where subscriptions begin with `routing: match`: `startFrom` becomes one offset per partition of each source topic.

Whoever writes a new subscription asks the brokers first and writes it then. So what is produced after the command has
returned is at or after these offsets, and with `startFrom: now` everything that was produced before it is before them.

`startFrom: group:NAME` goes on from the offsets that another consumer group has committed. They are read once, when the
subscription is made, and only while the group has no members: otherwise both would deliver the same events.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pipeline.config.definition import Definition
from pipeline.config.validation_messages import nearest
from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import shown
from pipeline.core.subscription import Routing, Subscription
from pipeline.kafka.group_positions import GroupPositions, group_positions
from pipeline.kafka.log_positions import LogPositions, log_positions
from pipeline.subscriptions.fields import instant
from pipeline.subscriptions.schema import EARLIEST, GROUP, NOW, OPTIONS, WireStart, WireSubscription

Place = float | str
"""What `startFrom` says: Unix seconds, one of these in their place, or the name of a group."""
_PLACES: Final = {NOW: -1.0, EARLIEST: -2.0}


def check_routing(subscription: WireSubscription, definition: Definition) -> None:
    """Check `topics`, `startFrom` and whether a filter is missing; all of them are for `routing: match`.

    Raises:
        ConfigurationError: a value can't be used; or neither definition nor setting says the routing.
    """
    if definition.routing is Routing.KEY:
        problems = _refused_by_key(subscription)
    else:
        topics, known = subscription.topics or (), definition.source.topics
        problems = [
            f"topics[{index}]: {shown(topic)} is not a source topic; {nearest(topic, known)}"
            for index, topic in enumerate(topics)
            if topic not in known
        ]
        problems += _unfiltered(subscription, definition)
    if problems:
        raise ConfigurationError(problems)


def _refused_by_key(subscription: WireSubscription) -> list[str]:
    problems: list[str] = []
    if subscription.topics is not None:
        problems.append(
            "topics: is only allowed with routing: match; with routing: key, the key of an event names its subscription"
        )
    if subscription.start_from is not None:
        problems.append(
            "startFrom: is only allowed with routing: match; with routing: key, a subscription begins where the "
            "workers are, and webhooks subscriptions replay delivers older events"
        )
    return problems


def _unfiltered(subscription: WireSubscription, definition: Definition) -> list[str]:
    options = subscription.configuration.entrypoint_configuration
    if not definition.require_filter or options.filter is not None or subscription.topics is not None:
        return []
    every = f"{shown(subscription.id)} would get every event of {', '.join(definition.source.topics)}"
    return [f"{OPTIONS}.filter: is required by the definition (requireFilter), or topics; without both, {every}"]


def check_beginning(subscription: WireSubscription, now: float) -> None:
    """Check where a new subscription begins.

    Raises:
        ConfigurationError: that is after *now*, Unix seconds.
    """
    text = subscription.start_from
    place = _place(text)
    if isinstance(place, float) and place > now:
        raise ConfigurationError(f"startFrom: {shown(text)} is in the future; allowed: now, earliest or a past time")


def with_same_beginning(wanted: WireSubscription, stored: WireSubscription) -> WireSubscription:
    """The edit *wanted* with the beginning of the *stored* one: an edit does not move a subscription.

    Raises:
        ConfigurationError: it asks for another beginning, which would be ignored.
    """
    if wanted.start_from is not None and _place(wanted.start_from) != _place(stored.start_from):
        raise ConfigurationError(
            f"startFrom: {shown(wanted.start_from)} is for a new subscription only, and {shown(wanted.id)} began at "
            f"{shown(stored.start_from or NOW)}; keep that or leave startFrom out, and use webhooks subscriptions "
            "replay to deliver older events"
        )
    kept = {name: getattr(stored, name) for name in ("start_from", "start", "created_revision")}
    return wanted.model_copy(update=kept)


def with_beginning_of(wanted: WireSubscription, broken: Subscription) -> WireSubscription:
    """The edit *wanted* of a subscription whose record can't be read, with the beginning that could be."""
    if broken.starts is None:
        return wanted
    starts = {topic: _wire(start.offsets, start.topic_id) for topic, start in broken.starts.items()}
    return wanted.model_copy(update={"start": starts})


def _place(start_from: str | None) -> Place:
    text = start_from or NOW
    if text.startswith(GROUP):
        return text.removeprefix(GROUP)
    return _PLACES[text] if text in _PLACES else instant(text)


class Beginnings:
    """The offsets at which the new subscriptions of one command begin; the brokers are asked once.

    Args:
        definition: names the source topics.
    """

    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        self._found: dict[Place, Mapping[str, WireStart]] = {}
        self._remarks: dict[Place, str] = {}

    async def look_up(self, subscriptions: Iterable[WireSubscription]) -> None:
        """Ask the brokers where these new subscriptions begin; of no effect with `routing: key`.

        Raises:
            ConfigurationError: one of them can't go on from the positions of its group; one sentence per group.
            BrokerError: the brokers can't be asked.
        """
        missing = {_place(each.start_from) for each in subscriptions} - self._found.keys()
        if self._definition.routing is Routing.KEY or not missing:
            return
        source = self._definition.source
        names = sorted(place for place in missing if isinstance(place, str))
        groups = await group_positions(source.connection, names, source.topics) if names else {}
        times = {place: int(place * 1000) for place in missing if isinstance(place, float) and place >= 0}
        found = {topic: await log_positions(source.connection, topic, times.values()) for topic in source.topics}
        problems = [problem for name, group in groups.items() for problem in _unusable(name, group, found)]
        if problems:
            raise ConfigurationError(problems)
        for place in missing:
            if isinstance(place, str):
                self._begin_at_group(place, groups[place], found)
            else:
                self._found[place] = {topic: _start(each, place, times.get(place)) for topic, each in found.items()}

    def _begin_at_group(self, name: str, group: GroupPositions, found: Mapping[str, LogPositions]) -> None:
        reset = self._definition.source.auto_offset_reset
        starts, unread = {}, []
        for topic, log in found.items():
            committed = group.offsets.get(topic, {})
            # Where the group has committed nothing it would have begun there, too.
            otherwise = log.begins if reset == "earliest" else log.ends
            starts[topic] = _wire([committed.get(number, end) for number, end in enumerate(otherwise)], log.topic_id)
            unread += [
                f"{topic} {number}" for number, end in enumerate(log.ends) if end > 0 and number not in committed
            ]
        self._found[name] = starts
        if unread:
            where = "first" if reset == "earliest" else "next"
            self._remarks[name] = (
                f"the group {name} has committed nothing in {', '.join(unread)}; it begins with the {where} event "
                f"there, because autoOffsetReset is {reset}"
            )

    def begun(self, subscription: WireSubscription) -> WireSubscription:
        """A new subscription that was looked up, with its beginning."""
        if self._definition.routing is Routing.KEY:
            return subscription
        start = self._found[_place(subscription.start_from)]
        return subscription.model_copy(update={"start": start, "start_from": subscription.start_from or NOW})

    def remark(self, subscription: WireSubscription) -> str | None:
        """What should be known about the beginning of a new subscription that was looked up, if anything."""
        return self._remarks.get(_place(subscription.start_from))


def _unusable(name: str, group: GroupPositions, found: Mapping[str, LogPositions]) -> list[str]:
    """Why no subscription can go on from where a group stands; nothing if one can."""
    if not group.offsets:
        why = (
            f"has committed nothing in {', '.join(found)}: the name is wrong, or its offsets have expired; see "
            "kafka-consumer-groups --describe"
        )
    elif group.members is None:
        why = (
            "hides its members, because it uses the protocol of KIP-848; copy its offsets to a group that has never "
            "had members, and name that one"
        )
    elif group.members:
        count = "a member" if group.members == 1 else f"{group.members} members"
        why = f"still has {count}, which would go on delivering; end its consumers and apply this again"
    else:
        why = None
    path = f"startFrom: group {shown(name)}"
    if why is not None:
        return [f"{path} {why}"]
    return [problem for topic, log in found.items() for problem in _of_another_topic(path, group, topic, log)]


def _of_another_topic(path: str, group: GroupPositions, topic: str, log: LogPositions) -> list[str]:
    offsets, before = group.offsets.get(topic, {}), group.topic_ids.get(topic)
    if None not in {before, log.topic_id} and before != log.topic_id:
        return [f"{path}: topic {topic} was made again meanwhile: its id was {before} and is {log.topic_id}"]
    return [
        f"{path} has committed {offset} in partition {number} of {topic}, which is of a former topic of this name: "
        + (f"the log ends at {log.ends[number]}" if number < len(log.ends) else f"there are {len(log.ends)} partitions")
        for number, offset in sorted(offsets.items())
        if number >= len(log.ends) or offset > log.ends[number]
    ]


def _start(found: LogPositions, place: float, time_ms: int | None) -> WireStart:
    offsets = found.begins if place == _PLACES[EARLIEST] else found.ends
    return _wire(offsets if time_ms is None else found.since[time_ms], found.topic_id)


def _wire(offsets: Sequence[int], topic_id: str | None) -> WireStart:
    return WireStart.model_validate({"topicId": topic_id, "offsets": list(offsets)})
