"""Where subscriptions begin with `routing: match`: turns `startFrom` into an offset for each partition of each topic.

The brokers are asked before a new subscription is written. So events produced after the command are at or after these
offsets and, with `startFrom: now`, events produced before the command are before these offsets.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from pipeline.config.definition import Definition
from pipeline.config.validation_messages import nearest
from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import shown
from pipeline.core.subscription import Routing, Subscription
from pipeline.kafka.group_positions import group_positions
from pipeline.kafka.log_positions import LogPositions, log_positions
from pipeline.subscriptions.fields import instant
from pipeline.subscriptions.group_start_offsets import StartGroup, begin_at_group, refusals, wire_start
from pipeline.subscriptions.schema import EARLIEST, GROUP, NOW, OPTIONS, ResumeFrom, WireStart, WireSubscription

_StartFrom = float | StartGroup
"""A parsed `startFrom`: Unix seconds, a value of `_PLACES`, or a group."""
_PLACES: Final = {NOW: -1.0, EARLIEST: -2.0}


def check_routing(subscription: WireSubscription, definition: Definition) -> None:
    """Check the fields that belong to `routing: match`: `topics`, `startFrom`, a command's topic, a required filter.

    Raises:
        ConfigurationError: a value can't be used; or no routing is set, neither in the definition nor by the setting.
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
    with_topic(subscription.resume_from, definition)


def with_topic(resume: ResumeFrom | None, definition: Definition) -> ResumeFrom | None:
    """The command with its topic filled in if it names a partition: the definition may gain source topics later.

    Raises:
        ConfigurationError: the command names a topic that is not a source topic, or no topic although there are
            several.
    """
    place = None if resume is None else resume.skip or resume
    if resume is None or place is None or place.partition is None:
        return resume
    path = "resumeFrom.skip.topic" if resume.skip is not None else "resumeFrom.topic"
    named = {"topic": definition.source_topic(place.topic, path)}
    if resume.skip is not None:
        return resume.model_copy(update={"skip": resume.skip.model_copy(update=named)})
    return resume.model_copy(update=named)


def _refused_by_key(subscription: WireSubscription) -> list[str]:
    problems: list[str] = []
    if subscription.topics is not None:
        problems.append(
            "topics: is only allowed with routing: match; with routing: key, the key of an event names its subscription"
        )
    if subscription.start_from is not None:
        problems.append(
            "startFrom: is only allowed with routing: match; with routing: key, a subscription begins where the "
            "workers are; to deliver older events, use webhooks subscriptions replay"
        )
    return problems


def _unfiltered(subscription: WireSubscription, definition: Definition) -> list[str]:
    options = subscription.configuration.entrypoint_configuration
    if not definition.require_filter or options.filter is not None or subscription.topics is not None:
        return []
    every = f"{shown(subscription.id)} would get every event of {', '.join(definition.source.topics)}"
    return [f"{OPTIONS}.filter: the definition (requireFilter) requires a filter or topics; without both, {every}"]


def check_beginning(subscription: WireSubscription, now: float) -> None:
    """Check where a new subscription begins.

    Raises:
        ConfigurationError: the subscription would begin after *now* (Unix seconds).
    """
    text = subscription.start_from
    place = _place(text)
    if isinstance(place, float) and place > now:
        raise ConfigurationError(f"startFrom: {shown(text)} is in the future; allowed: now, earliest or a past time")


def check_command(resume: ResumeFrom | None, now: float) -> None:
    """Check a new command.

    Raises:
        ConfigurationError: the command would continue from a time after *now* (Unix seconds).
    """
    if resume is not None and resume.timestamp is not None and instant(resume.timestamp) > now:
        raise ConfigurationError(
            f"resumeFrom.timestamp: {shown(resume.timestamp)} is in the future; allowed: a past time"
        )


def with_same_beginning(wanted: WireSubscription, stored: WireSubscription) -> WireSubscription:
    """*wanted* with the beginning of the *stored* subscription, because an edit does not move the beginning.

    Raises:
        ConfigurationError: *wanted* has another beginning, which would be ignored.
    """
    if wanted.start_from is not None and _place(wanted.start_from) != _place(stored.start_from):
        began = shown(stored.start_from or NOW)
        raise ConfigurationError(
            f"startFrom: {shown(wanted.start_from)} is for a new subscription only, and {shown(wanted.id)} began at "
            f"{began}; write {began}, or leave startFrom out. To deliver older events, use webhooks "
            "subscriptions replay"
        )
    kept = {name: getattr(stored, name) for name in ("start_from", "start", "created_revision")}
    return wanted.model_copy(update=kept)


def with_beginning_of(wanted: WireSubscription, broken: Subscription) -> WireSubscription:
    """*wanted*, which replaces a record that can't be read, with the record's beginning if that part can be read."""
    if broken.starts is None:
        return wanted
    starts = {topic: wire_start(start.offsets, start.topic_id) for topic, start in broken.starts.items()}
    return wanted.model_copy(update={"start": starts})


def _place(start_from: str | None, starting_at: str | None = None) -> _StartFrom:
    text = start_from or NOW
    if text.startswith(GROUP):
        return StartGroup(text.removeprefix(GROUP), None if starting_at is None else max(0.0, instant(starting_at)))
    return _PLACES[text] if text in _PLACES else instant(text)


def _place_of(subscription: WireSubscription) -> _StartFrom:
    return _place(subscription.start_from, subscription.starting_at)


class StartOffsets:
    """The offsets at which the new subscriptions of one command begin; the brokers are asked once."""

    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        self._found: dict[_StartFrom, Mapping[str, WireStart]] = {}
        self._remarks: dict[_StartFrom, str | None] = {}

    async def look_up(self, subscriptions: Iterable[WireSubscription]) -> None:
        """Ask the brokers where these new subscriptions begin. Does nothing with `routing: key`.

        Raises:
            ConfigurationError: a subscription can't continue from the positions of its group; one sentence per group.
            BrokerError: the brokers can't be asked.
        """
        missing = {_place_of(each) for each in subscriptions} - self._found.keys()
        if self._definition.routing is Routing.KEY or not missing:
            return
        source = self._definition.source
        names = sorted({place.name for place in missing if isinstance(place, StartGroup)})
        groups = await group_positions(source.connection, names, source.topics) if names else {}
        times = {place: time for place in missing if (time := _time_ms(place)) is not None}
        found = {topic: await log_positions(source.connection, topic, times.values()) for topic in source.topics}
        problems = [problem for name, group in groups.items() for problem in refusals(name, group, found)]
        if problems:
            raise ConfigurationError(problems)
        for place in missing:
            if isinstance(place, StartGroup):
                beginning = begin_at_group(place, groups[place.name], found, source.auto_offset_reset, times.get(place))
                self._found[place], self._remarks[place] = beginning.starts, beginning.remark
            else:
                self._found[place] = {topic: _start(each, place, times.get(place)) for topic, each in found.items()}

    def begun(self, subscription: WireSubscription) -> WireSubscription:
        """A copy of a new subscription to which its start offsets are added. Call `look_up` first."""
        if self._definition.routing is Routing.KEY:
            return subscription
        start = self._found[_place_of(subscription)]
        return subscription.model_copy(update={"start": start, "start_from": subscription.start_from or NOW})

    def remark(self, subscription: WireSubscription) -> str | None:
        """A remark about the beginning of a new subscription, if any. Call `look_up` first."""
        return self._remarks.get(_place_of(subscription))


def _time_ms(place: _StartFrom) -> int | None:
    seconds = place.since if isinstance(place, StartGroup) else place
    return None if seconds is None or seconds < 0 else int(seconds * 1000)


def _start(found: LogPositions, place: float, time_ms: int | None) -> WireStart:
    offsets = found.begins if place == _PLACES[EARLIEST] else found.ends
    return wire_start(offsets if time_ms is None else found.since[time_ms], found.topic_id)
