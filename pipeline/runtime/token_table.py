"""The Faust table of access tokens. Tokens move with their partition and survive a restart.

    app = faust.App(...)
    tokens = StoredTokens(add_token_table(app), box)

Faust writes a table row only while it processes a stream event, and uses that event's partition. But any task may fetch
a token, and the key of a token's row contains the partition. So this table writes to its changelog itself, and waits
for the broker.
"""

from collections.abc import Sequence
from typing import Final, cast

import faust
from faust.types import TP

from pipeline.auth.token_store import partition_of
from pipeline.core.errors import BrokerError

NAME: Final = "tokens"


class TokenTable(faust.Table[bytes, bytes]):
    """`token_store.TokenRows` over a Faust table with raw bytes for keys and values."""

    def row(self, key: bytes) -> bytes | None:
        """See `token_store.TokenRows.row`."""
        return cast("bytes | None", self.data.get(key))

    def row_keys(self) -> Sequence[bytes]:
        """See `token_store.TokenRows.row_keys`."""
        return list(self.data)

    async def write(self, key: bytes, value: bytes | None) -> None:
        """See `token_store.TokenRows.write`.

        Raises:
            BrokerError: the row is not durable.
        """
        if value is None:
            self.data.pop(key, None)
        else:
            self.data[key] = value
        try:
            # The row is sent directly. In Faust's buffer (`send_changelog`), a row that can't be sent would stop the
            # worker.
            sent = await self.changelog_topic.send(
                key=key,
                value=value,
                partition=self.partition_for_key(key),
                key_serializer="raw",
                value_serializer="raw",
                force=True,
            )
            await sent
        except Exception as error:  # the errors of Faust and its driver have no common base class
            raise BrokerError(f"a row of {self.changelog_topic_name} was not written: {error!r}") from error

    def partition_for_key(self, key: bytes) -> int:
        """The partition in the key. The current stream event does not matter."""
        return partition_of(key)

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Forget the rows of partitions that another worker now owns.

        Faust's store forgets only the rows that it has read from the changelog, not those that this worker has written.
        """
        owned = {tp.partition for tp in active_tps | standby_tps}
        for key in self.row_keys():
            if partition_of(key) not in owned:
                self.data.pop(key, None)
        await super().on_recovery_completed(active_tps, standby_tps)


def add_token_table(app: faust.App) -> TokenTable:
    """Declare the table. Its changelog `<app>-tokens-changelog` has as many partitions as the largest source topic.

    The assignor gives a worker the same partition numbers of source topics and changelog.

    Args:
        app: the application, which is not started yet.
    """
    table = TokenTable(
        app,
        name=NAME,
        key_type=bytes,
        value_type=bytes,
        # The table is kept in memory: reading the changelog again is as fast as reading a disk, and needs no lock.
        store="memory://",
        help="access tokens of subscriptions, encrypted",
        beacon=app.tables.beacon,
    )
    app.tables.add(table)
    return table
