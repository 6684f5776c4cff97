"""How the names of record headers begin that mean something to the pipeline."""

from typing import Final

CLOUD_EVENT_PREFIX: Final = "ce_"
"""An attribute of a CloudEvent (Kafka binding 1.0.2, section 3.2.3)."""

DEAD_LETTER_PREFIX: Final = "dlq."
"""A fact of a dead letter (docs/design.md, Dead letters). A redrive does not send it on."""
