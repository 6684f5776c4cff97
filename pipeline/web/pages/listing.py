"""`/subscriptions`: search and filters."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from pipeline.cluster.search import host_problem
from pipeline.cluster.state import STATES, StateFilter

PAGE: Final = 50
LONGEST: Final = 200
"""How many characters of a search are used."""


@dataclass(frozen=True, slots=True)
class ListingQuery:
    """The requested search, as the user wrote it.

    Attributes:
        q: a part of the id, of the host or of a metadata value.
        state: a state; "" for any.
        cause: a kind of cause; "" for any.
        host: a host with or without port; "" for any.
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
        """Whether the search filters anything."""
        return replace(self, after="") != ListingQuery()

    @property
    def problems(self) -> list[str]:
        """A sentence for each part that can't be used and is ignored."""
        found = []
        if self.state and self.state not in STATES:
            found.append(f"state: there is no {self.state!r}; allowed: {', '.join(STATES)}")
        if self.metadata and "=" not in self.metadata:
            found.append(f"metadata: {self.metadata!r} has no =; allowed: name=value")
        if (refusal := host_problem(self.host)) is not None:
            found.append(f"host: {refusal}")
        return found

    def as_filter(self) -> StateFilter:
        """The filter for the view of the cluster."""
        name, equals, value = self.metadata.partition("=")
        return StateFilter(
            text=self.q,
            states=frozenset({self.state}) if self.state in STATES else frozenset(),
            causes=frozenset({self.cause}) if self.cause else frozenset(),
            host=self.host or None,
            metadata={name.strip(): value.strip()} if equals else {},
        )


def read_search(query: Mapping[str, str]) -> ListingQuery:
    """The search in a query. Other parameters are ignored."""

    def text(name: str) -> str:
        return query.get(name, "").strip()[:LONGEST]

    return ListingQuery(text("q"), text("state"), text("cause"), text("host"), text("metadata"), query.get("after", ""))
