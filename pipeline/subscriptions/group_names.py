"""The consumer groups of another system that belong to subscriptions."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

OWN_ID: Final = "id"
"""Instead of SUBSCRIPTION=GROUP: each subscription's group has its id as its name, Gravitee's default."""


@dataclass(frozen=True, slots=True)
class Groups:
    """The group of each subscription; *named* ones come first."""

    named: Mapping[str, str]
    are_called_as_subscriptions: bool = False

    @classmethod
    def read(cls, arguments: Collection[str]) -> "Groups":
        """From OWN_ID and SUBSCRIPTION=GROUP."""
        named = dict(each.split("=", 1) for each in arguments if each != OWN_ID)
        return cls(named, OWN_ID in arguments)

    def of(self, subscription: str) -> str | None:
        """The group of a subscription, None if it is not known."""
        return self.named.get(subscription) or (subscription if self.are_called_as_subscriptions else None)

    def unknown(self, subscriptions: Iterable[str]) -> list[str]:
        """The named subscriptions that are not among these."""
        return sorted(self.named.keys() - set(subscriptions))
