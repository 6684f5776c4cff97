"""The Faust agents of the pipeline: `attach(app)` registers them all.

- `deliver`: passes each batch of a source topic to its dispatcher.
"""

from agents.deliver import attach as attach_deliver
from pipeline.runtime.application import DeliveryApp

__all__ = ["attach"]


def attach(app: DeliveryApp) -> None:
    """Register every agent with the application."""
    attach_deliver(app)
