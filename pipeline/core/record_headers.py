"""The prefixes of record headers that the pipeline interprets."""

from typing import Final

CLOUD_EVENT_PREFIX: Final = "ce_"
"""An attribute of a CloudEvent (Kafka binding 1.0.2, section 3.2.3)."""

DEAD_LETTER_PREFIX: Final = "dlq."
"""A fact about a dead letter (docs/design.md, Dead letters). After a redrive, receivers don't get this header."""
