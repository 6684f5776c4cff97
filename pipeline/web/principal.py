"""The caller of the web view, and what it may do. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from pipeline.core.subscription import Subscription

Scope = Literal["read", "write", "secrets", "metrics"]
SCOPES: Final[frozenset[Scope]] = frozenset(get_args(Scope))

MOST_TENANT_ENTRIES: Final = 16


@dataclass(frozen=True, slots=True)
class Principal:
    """The owner of a token.

    Attributes:
        name: for the record of changes.
        scopes: "read": subscriptions and their state; "write": change them; "secrets": get a new secret; "metrics":
            /metrics alone.
        tenant: the metadata that a subscription must have for them to see it; empty: they see every one.
    """

    name: str
    scopes: frozenset[Scope] = SCOPES
    tenant: Mapping[str, str] = field(default_factory=dict)

    def seen(self, found: Subscription | None) -> Subscription | None:
        """The subscription if they may see it, else None, as if it did not exist.

        Everything that the API and the pages show about one subscription passes this check. For many, see `limited`
        (api/states.py).
        """
        if found is None or any(found.metadata.get(name) != value for name, value in self.tenant.items()):
            return None
        return found
