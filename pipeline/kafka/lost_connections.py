"""Lets aiokafka's clients survive a request on a connection that was lost a moment before.

uvloop closes a lost connection at once, and a write to it raises RuntimeError; asyncio drops what is written. aiokafka
notices the loss only in a later turn of the event loop, and handles OSError, but not RuntimeError. In this short time,
a request would end the task that made it. If the task that refreshes the metadata ends like this, nothing reports it.
When a leader moves after that, the client waits for a refresh that never comes. The rows of a partition, for example,
are then never written again.

    AIOKafkaConnection.send          refuses such a request as it does any other on a lost connection
    AIOKafkaClient._metadata_update  a refresh that raises an unexpected error has failed; the next one is tried
"""

import asyncio
import functools
import logging
from typing import Any, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError

from pipeline.core.patches import Patch, looks_up
from pipeline.observability.instruments import LineLimit

logger = logging.getLogger(__name__)

REFRESH_PAUSE_SECONDS: Final = 0.1
"""The pause after a refresh that raised an error. Without it, aiokafka might try again at once, in a loop."""

_lines = LineLimit()
_send = AIOKafkaConnection.send
_update = AIOKafkaClient._metadata_update  # noqa: SLF001 - only its task calls it


@functools.wraps(_send)
def _send_or_refuse(connection: Any, request: Any, expect_response: bool = True) -> Any:
    """See aiokafka. Raises KafkaConnectionError if the connection is lost."""
    try:
        return _send(connection, request, expect_response)
    except NotImplementedError:  # a subclass of RuntimeError: broker and aiokafka share no version of the request
        raise
    except RuntimeError as error:
        connection.close(reason=CloseReason.CONNECTION_BROKEN, exc=error)
        raise KafkaConnectionError(f"Connection at {connection.host}:{connection.port} was lost") from error


@functools.wraps(_update)
async def _update_or_fail(client: Any, metadata: Any, topics: Any) -> bool:
    """See aiokafka. Returns whether *metadata* was updated."""
    try:
        return bool(await _update(client, metadata, topics))
    except Exception as error:
        if _lines.passes(repr(error)) is not None:
            logger.exception("the metadata of the cluster could not be refreshed; trying again")
        await asyncio.sleep(REFRESH_PAUSE_SECONDS)
        return False


AIOKafkaConnection.send = _send_or_refuse
AIOKafkaClient._metadata_update = _update_or_fail  # noqa: SLF001 - see above

_STUCK: Final = "a client whose connection is lost at the wrong moment waits for the cluster's metadata indefinitely"

PATCHES: Final = (
    Patch("aiokafka", "AIOKafkaConnection.send", _STUCK, looks_up("aiokafka.client:AIOKafkaClient.send", "send")),
    Patch(
        "aiokafka",
        "AIOKafkaClient._metadata_update",
        _STUCK,
        looks_up("aiokafka.client:AIOKafkaClient._md_synchronizer", "_metadata_update"),
    ),
)
