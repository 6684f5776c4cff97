"""How `list` and `get` show subscriptions: as they were applied, and the delivery state that the workers recorded."""

from collections.abc import Sequence
from typing import Any, Final

from pipeline.cli.noted import UNKNOWN, summary
from pipeline.cli.output import as_table
from pipeline.cluster.rows import Noted, shown
from pipeline.core.redaction import shown_url
from pipeline.core.subscription import Routing

COLUMNS: Final = ("ID", "PUBLISHER", "CONSUMER", "DELIVERY", "QOS", "REVISION", "CALLBACK", "PROBLEM")
OF_MATCH: Final = ("TOPICS", "BEGINS")
"""More columns, with `routing: match`."""


def as_documents(
    documents: Sequence[dict[str, Any]], noted: Noted | str, routing: Routing | None
) -> list[dict[str, Any]]:
    """Each subscription with the routing and its delivery state, which `apply` ignores."""
    return [
        {
            **document,
            "routing": None if routing is None else routing.value,
            "delivery": None if isinstance(noted, str) else [shown(row) for row in noted.of(document["id"])],
        }
        for document in documents
    ]


def as_rows(documents: Sequence[dict[str, Any]], noted: Noted | str, routing: Routing | None) -> str:
    """A table with one row for each subscription."""
    matches = routing is Routing.MATCH
    rows = [(*_row(each, noted), *(_row_of_match(each) if matches else ())) for each in documents]
    return as_table((*COLUMNS, *OF_MATCH) if matches else COLUMNS, rows)


def _row(document: dict[str, Any], noted: Noted | str) -> tuple[object, ...]:
    options = document.get("configuration", {}).get("entrypointConfiguration", {})
    url = options.get("callbackUrl")
    return (
        document["id"],
        document.get("status"),
        document.get("consumerStatus"),
        UNKNOWN if isinstance(noted, str) else summary(noted.of(document["id"])),
        document.get("qos"),
        document["revision"],
        None if url is None else shown_url(url),
        document.get("problem"),
    )


def _row_of_match(document: dict[str, Any]) -> tuple[object, ...]:
    topics = document.get("topics")
    return "all" if topics is None else ",".join(topics), document.get("startFrom")
