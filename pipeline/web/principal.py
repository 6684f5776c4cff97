"""Who uses the web view, and what they may do. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

Scope = Literal["read", "write", "secrets", "metrics"]
SCOPES: Final[frozenset[Scope]] = frozenset(get_args(Scope))

MOST_TENANT_ENTRIES: Final = 16


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody with a token.

    Attributes:
        name: for the record of changes.
        scopes: "read": subscriptions and their state; "write": change them; "secrets": get a new secret; "metrics":
            /metrics alone.
        tenant: the metadata that a subscription must have for them to see it; empty: they see every one.
    """

    name: str
    scopes: frozenset[Scope] = SCOPES
    tenant: Mapping[str, str] = field(default_factory=dict)

    def sees(self, metadata: Mapping[str, str]) -> bool:
        """Whether they see a subscription with this metadata."""
        return all(metadata.get(name) == value for name, value in self.tenant.items())
