"""The consumer groups of another system that belong to subscriptions."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

OWN_ID: Final = "id"
"""Replaces SUBSCRIPTION=GROUP if each group's name is the id of its subscription, as it is by default in Gravitee."""


@dataclass(frozen=True, slots=True)
class Groups:
    """The consumer group of each subscription; a name in *named* has priority."""

    named: Mapping[str, str]
    are_called_as_subscriptions: bool = False

    @classmethod
    def read(cls, arguments: Collection[str]) -> "Groups":
        """Parse arguments of the forms OWN_ID and SUBSCRIPTION=GROUP."""
        named = dict(each.split("=", 1) for each in arguments if each != OWN_ID)
        return cls(named, OWN_ID in arguments)

    def of(self, subscription: str) -> str | None:
        """The group of a subscription; None if it is unknown."""
        return self.named.get(subscription) or (subscription if self.are_called_as_subscriptions else None)

    def unknown(self, subscriptions: Iterable[str]) -> list[str]:
        """The subscriptions that the arguments name and that are not in *subscriptions*."""
        return sorted(self.named.keys() - set(subscriptions))
