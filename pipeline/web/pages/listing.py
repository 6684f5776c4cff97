"""`/subscriptions`: search and filters."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from pipeline.cluster.state import STATES, StateFilter

PAGE: Final = 50
LONGEST: Final = 200
"""How many characters of a search are used."""


@dataclass(frozen=True, slots=True)
class Search:
    """The search that was asked for, as written.

    Attributes:
        q: a part of the id, of the host or of a value of the metadata.
        state: a state; "" for any.
        cause: a kind of cause; "" for any.
        host: with or without a port; "" for any.
        metadata: `name=value`; "" for any.
        after: the last id of the previous page; "" for the first page.
    """

    q: str = ""
    state: str = ""
    cause: str = ""
    host: str = ""
    metadata: str = ""
    after: str = ""

    @property
    def is_narrow(self) -> bool:
        """Whether it filters anything."""
        return replace(self, after="") != Search()

    @property
    def problems(self) -> list[str]:
        """The parts that can't be used, a sentence each; they are ignored."""
        found = []
        if self.state and self.state not in STATES:
            found.append(f"state: there is no {self.state!r}; allowed: {', '.join(STATES)}")
        if self.metadata and "=" not in self.metadata:
            found.append(f"metadata: {self.metadata!r} has no =; allowed: name=value")
        return found

    def as_filter(self) -> StateFilter:
        """The filter of the cluster's view."""
        name, equals, value = self.metadata.partition("=")
        return StateFilter(
            text=self.q,
            states=frozenset({self.state}) if self.state in STATES else frozenset(),
            causes=frozenset({self.cause}) if self.cause else frozenset(),
            host=self.host or None,
            metadata={name.strip(): value.strip()} if equals else {},
        )


def read_search(query: Mapping[str, str]) -> Search:
    """The search in a query; other parameters are ignored."""

    def text(name: str) -> str:
        return query.get(name, "").strip()[:LONGEST]

    return Search(text("q"), text("state"), text("cause"), text("host"), text("metadata"), query.get("after", ""))
