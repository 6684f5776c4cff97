"""Converts an API of Gravitee and its subscriptions. Needs no broker."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.config.definition import Definition, parse_definition
from pipeline.config.gravitee.losses import Loss, losses
from pipeline.config.gravitee.pruned import pruned
from pipeline.config.gravitee.shapes import Contents, Part
from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import shown
from pipeline.core.subscription import Routing
from pipeline.subscriptions.gravitee import LeftOut, Taken, from_group, take
from pipeline.subscriptions.group_names import Groups
from pipeline.subscriptions.resolve import check_limits
from pipeline.subscriptions.schema import WireSubscription
from pipeline.subscriptions.start_offsets import check_routing


@dataclass(slots=True)
class Imported:
    """The result of an import.

    Attributes:
        definition: the API definition; None if the files contain no API.
        notes: what was taken, added and left out; each note is a word and a sentence.
    """

    definition: dict[str, Any] | None = None
    subscriptions: list[WireSubscription] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)


def imported(found: Contents, accepted: Collection[str] = (), groups: Collection[str] = ()) -> Imported:
    """Convert what was found in Gravitee's files.

    Args:
        found: the contents of all files together.
        accepted: names of losses that are not errors.
        groups: the consumer groups from whose positions the subscriptions begin, as `Groups` reads them.

    Raises:
        ConfigurationError: a value can't be used, or would be lost; one sentence per mistake.
    """
    try:
        return _Import(found, accepted, groups).result()
    except RecursionError:
        raise ConfigurationError("document: is nested too deeply") from None


class _Import:
    def __init__(self, found: Contents, accepted: Collection[str], groups: Collection[str]) -> None:
        self._found = found
        self._accepted = accepted
        self._groups = Groups.read(groups)
        self._problems: list[str] = list(found.unknown)
        self._imported = Imported()

    def result(self) -> Imported:
        definition = self._take_api()
        self._take_subscriptions(definition)
        for each in self._found.unused:
            self._note("not used", each)
        if self._problems:
            raise ConfigurationError(self._problems)
        return self._imported

    def _note(self, word: str, sentence: str) -> None:
        self._imported.notes.append((word, sentence))

    def _note_losses(self, location: str, found: Iterable[Loss]) -> None:
        for each in found:
            if each.name in self._accepted:
                self._note("lost", f"{location}: {each.path}: {each.what}")
            else:
                self._problems.append(f"{location}: {each}")

    def _take_api(self) -> Definition | None:
        apis = self._found.apis
        if len(apis) != 1:
            if apis or not self._found.subscriptions:
                names = ", ".join(f"{each.location} ({shown(each.document.get('name'))})" for each in apis) or "none"
                self._problems.append(f"there are {len(apis)} APIs; exactly one is allowed: {names}")
            return None
        [api] = apis
        try:
            definition = parse_definition(api.document, accepted=self._accepted)
        except ConfigurationError as error:
            self._problems += [f"{api.location}: {problem}" for problem in error.problems]
            return None
        self._note("taken", _summary(api, definition))
        self._note_losses(api.location, losses(api.document))
        if ignored := [*api.ignored, *definition.ignored]:
            self._note("not used", f"{api.location}: {', '.join(ignored)}")
        self._imported.definition = document = pruned(api.document, definition.ignored)
        if definition.stated_routing is None:
            # All other entrypoints have been removed.
            document["listeners"][0]["entrypoints"][0]["routing"] = Routing.MATCH.value
            self._note("added", "routing: match, because Gravitee gives every subscription every event")
        return parse_definition(document)

    def _take_subscriptions(self, definition: Definition | None) -> None:
        ignored: dict[str, None] = {}
        parts, expected = self._found.subscriptions, self._found.expected
        if len(parts) < expected:
            self._problems.append(
                f"there are {expected} subscriptions, but only {len(parts)} here; add the other pages"
            )
        for part in parts:
            try:
                taken = take(part.document)
            except ConfigurationError as error:
                self._problems += [f"{part.location}: {problem}" for problem in error.problems]
                continue
            if isinstance(taken, LeftOut):
                self._note("left out", f"subscription {shown(taken.id)}: {taken.why}")
            elif other := self._other_api(part):
                self._note(
                    "left out", f"subscription {shown(taken.subscription.id)}: it belongs to the API {shown(other)}"
                )
            else:
                self._take(part.location, taken, definition)
                ignored.update(dict.fromkeys(taken.ignored))
        if ignored:
            self._note("not used", f"of subscriptions: {', '.join(ignored)}")
        taken_over = self._imported.subscriptions
        for unknown in self._groups.unknown({each.id for each in taken_over}):
            self._problems.append(f"--from-group: {shown(unknown)} is not the id of an imported subscription")
        if later := sum(each.start_from is None for each in taken_over):
            begin = "subscriptions get only events that are written after they are applied"
            self._note("begins", f"{later} of {len(taken_over)} {begin}")

    def _other_api(self, part: Part) -> str | None:
        """The API that a subscription names, if it is another one than the imported API."""
        api = part.document.get("api")
        named = api.get("id") if isinstance(api, Mapping) else part.document.get("apiHrid")
        known = {each.document.get(name) for each in self._found.apis for name in ("id", "hrid")} - {None}
        return named if isinstance(named, str) and known and named not in known else None

    def _take(self, location: str, taken: Taken, definition: Definition | None) -> None:
        subscription = taken.subscription
        if subscription.id in {each.id for each in self._imported.subscriptions}:
            self._problems.append(f"{location}: id: {shown(subscription.id)} is taken by another subscription")
        group = self._groups.of(subscription.id)
        if group is not None:
            subscription = from_group(subscription, group)
        try:
            if definition is not None:
                check_routing(subscription, definition)
                check_limits(subscription, definition)
        except ConfigurationError as error:
            self._problems += [f"{location}: {problem}" for problem in error.problems]
        self._note_losses(location, taken.losses)
        self._imported.subscriptions.append(subscription)
        notes = "; ".join((*taken.notes, *([f"begins where the group {shown(group)} stopped"] if group else ())))
        self._note("taken", f"subscription {shown(subscription.id)}" + (f": {notes}" if notes else ""))


def _summary(api: Part, definition: Definition) -> str:
    source, dlq = definition.source, definition.dlq
    servers = ",".join(source.connection.bootstrap_servers)
    letters = "" if dlq is None else f", dead letters to topic {dlq.topic}"
    return (
        f"{api.location}: API {shown(definition.name)}: {definition.qos}, from topic {', '.join(source.topics)} at "
        f"{servers}{letters}"
    )
