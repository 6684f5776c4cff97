"""The Faust table in which access tokens move with their partition and survive a restart.

    app = faust.App(...)
    tokens = StoredTokens(add_token_table(app), box)

Faust's own way of writing to a table needs an event of a stream, whose partition the row then takes. Tokens are fetched
by any task, for a partition that stands in the key: so this table writes to its changelog itself, and waits for the
broker. The only module here that knows Faust, which is untyped in places.
"""

from collections.abc import Sequence
from typing import Final, cast

import faust
from faust.types import TP

from pipeline.auth.token_store import partition_of
from pipeline.core.errors import BrokerError

NAME: Final = "tokens"


class TokenTable(faust.Table[bytes, bytes]):
    """`stored.Rows` over a Faust table with raw bytes for keys and values."""

    def row(self, key: bytes) -> bytes | None:
        """See `stored.Rows.row`."""
        return cast("bytes | None", self.data.get(key))

    def row_keys(self) -> Sequence[bytes]:
        """See `stored.Rows.row_keys`."""
        return list(self.data)

    async def write(self, key: bytes, value: bytes | None) -> None:
        """See `stored.Rows.write`.

        Raises:
            BrokerError: the row is not durable.
        """
        if value is None:
            self.data.pop(key, None)
        else:
            self.data[key] = value
        try:
            # Sent at once, not through Faust's buffer (`send_changelog`): there, a row that can't be sent ends the
            # worker; here it is an error of this row.
            sent = await self.changelog_topic.send(
                key=key,
                value=value,
                partition=self.partition_for_key(key),
                key_serializer="raw",
                value_serializer="raw",
                force=True,
            )
            await sent
        except Exception as error:  # what Faust and its driver raise has no root in common
            raise BrokerError(f"a row of {self.changelog_topic_name} was not written: {error!r}") from error

    def partition_for_key(self, key: bytes) -> int:
        """The partition that stands in the key, whoever writes the row."""
        return partition_of(key)

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Forget the rows of partitions that are another worker's now.

        The store does so itself for the rows it read from the changelog, but not for those that were written here.
        """
        ours = {place.partition for place in active_tps | standby_tps}
        for key in self.row_keys():
            if partition_of(key) not in ours:
                self.data.pop(key, None)
        await super().on_recovery_completed(active_tps, standby_tps)


def add_token_table(app: faust.App) -> TokenTable:
    """Declare the table; its changelog is `<app>-tokens-changelog`, compacted, with the partitions of the source topic.

    The assignor gives a worker the same partitions of both.

    Args:
        app: not started yet.
    """
    table = TokenTable(
        app,
        name=NAME,
        key_type=bytes,
        value_type=bytes,
        # In memory: a row that is read back from the changelog is no slower than one from a disk, and has no lock.
        store="memory://",
        help="access tokens of subscriptions, encrypted",
        beacon=app.tables.beacon,
    )
    app.tables.add(table)
    return table
