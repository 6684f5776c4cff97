"""Restores a backup: checks whether the restore is possible, describes its effects, and carries it out.

Subscriptions are written first, commits last. An interrupted restore has to be run again as a whole.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from pipeline.cluster.backup import Backup
from pipeline.cluster.restoring import Renumbering, begun, by_creation, created, has_start, renumbered, without_creation
from pipeline.core.shown import shown
from pipeline.kafka.group_positions import commit_positions
from pipeline.kafka.kept_state import Commit, Kept, KeptState, write_records
from pipeline.kafka.log_positions import LogPositions
from pipeline.kafka.row_format import read_row
from pipeline.kafka.row_keys import split_key
from pipeline.kafka.topics import Source, cursors_topic, subscriptions_topic

SHOWN: Final = 20
"""How many rows the description lists."""


@dataclass(frozen=True)
class Restore:
    """A restore before it is carried out.

    Attributes:
        now: the current stored state of the application.
        keeps_subscriptions: restore only cursor rows and commits.
        keeps_positions: restore only subscriptions, and adapt the existing rows and commits to them.
    """

    backup: Backup
    now: KeptState
    app: str
    source: Source
    keeps_subscriptions: bool = False
    keeps_positions: bool = False

    def problems(self, undecryptable: Callable[[Kept], str | None], *, replaces: bool) -> list[str]:
        """Why the restore can't be carried out, as sentences.

        Args:
            undecryptable: returns why a stored subscription can't be decrypted, or None.
            replaces: whether existing state may be replaced.
        """
        problems = []
        if self.now.members != 0:
            group = f"group {shown(self.app)}"
            hidden = f"the members of {group} can't be seen, so it may still have some"
            problems.append(f"{f'{group} still has members' if self.now.members else hidden}: stop the workers")
        if not self.keeps_positions:
            problems += self._of_other_topics()
        if not self.keeps_subscriptions:
            problems += [each for each in map(undecryptable, self.backup.state.subscriptions) if each is not None]
        there = self._there()
        if there and not replaces:
            problems.append(f"application {shown(self.app)} has {' and '.join(there)}; --replace replaces them")
        return problems

    def _of_other_topics(self) -> list[str]:
        state, ids = self.backup.state, self.now.topic_ids
        problems = [
            f"topic {topic}: is in the backup, but is not a source topic of the definition"
            for topic in sorted({topic for topic, _ in state.commits})
            if topic not in ids
        ]
        problems += [
            f"topic {topic}: was recreated since the backup, whose offsets would refer to other events; "
            "--keep-positions restores only the subscriptions"
            for topic, former in state.topic_ids.items()
            if None not in {former, ids.get(topic)} and ids[topic] != former
        ]
        largest = max((row.partition for row in state.rows), default=-1)
        if largest >= self.now.row_partitions:
            topic = cursors_topic(self.app)
            problems.append(
                f"topic {topic}: has {self.now.row_partitions} partitions; the backup has rows of partition {largest}"
            )
        return problems

    def _there(self) -> list[str]:
        """The existing state that would be replaced, as phrases."""
        subscriptions, rows = len(self.now.subscriptions), len(self._lanes(self.now))
        found = []
        if subscriptions and not self.keeps_subscriptions:
            found.append(f"{subscriptions} subscriptions")
        if rows and not self.keeps_positions:
            found.append(f"{rows} cursor rows")
        if self.now.commits and not self.keeps_positions:
            found.append(f"committed offsets of {len(self.now.commits)} partitions")
        return found

    def effects(self, logs: Mapping[str, LogPositions]) -> list[str]:
        """The effects of the restore, as sentences. *logs*: the current logs of the source topics."""
        lines = [f"backup of {self.backup.app}, made {self.backup.made_at}"]
        if not self.keeps_subscriptions:
            surplus = f"deletes {len(self._surplus)} that are not in the backup"
            lines.append(f"writes {len(self._wanted)} subscriptions, {surplus}")
        if self.keeps_positions:
            return [*lines, "cursor rows and committed offsets stay: nothing that was delivered is sent again"]
        lanes = self._lanes(self.backup.state)
        lines.append(f"writes {len(lanes)} cursor rows, deletes {len(self._surplus_rows)} that are not in the backup")
        lines += [
            f"{name} continues at {next_} in partition {number} of {topic}"
            for name, topic, number, next_ in lanes[:SHOWN]
        ]
        if len(lanes) > SHOWN:
            lines.append(f"and {len(lanes) - SHOWN} more")
        lines.append("all others continue at the committed offset; events delivered since the backup are sent again:")
        commits = self.backup.state.commits
        return lines + [
            self._effect(place, commit, logs[place[0]]) for place, commit in commits.items() if place[0] in logs
        ]

    def _effect(self, place: tuple[str, int], commit: Commit, log: LogPositions) -> str:
        topic, number = place
        where, known = f"partition {number} of {topic} continues at {commit.offset}", self.now.commits.get(place)
        if number >= len(log.ends):
            return f"{where}: there is no such partition now"
        if commit.offset < log.begins[number]:
            where += f" (events before {log.begins[number]} have been deleted since)"
        upto = log.ends[number] if known is None else known.offset
        why = "the end of the log" if known is None else "the current committed offset"
        count = max(0, upto - max(commit.offset, log.begins[number]))
        return f"{where}: at most {count} events are sent again, up to offset {upto} ({why})"

    @property
    def _wanted(self) -> Sequence[Kept]:
        return by_creation(self.backup.state.subscriptions)

    @property
    def _surplus(self) -> list[bytes]:
        kept = {each.key for each in self.backup.state.subscriptions}
        return [each.key for each in self.now.subscriptions if each.key not in kept]

    @cached_property
    def _surplus_rows(self) -> list[tuple[bytes, int]]:
        kept = {(row.key, row.partition) for row in self.backup.state.rows}
        return [(row.key, row.partition) for row in self.now.rows if (row.key, row.partition) not in kept]

    def _lanes(self, state: KeptState) -> list[tuple[str, str, int, int | None]]:
        """Subscription, topic, partition and offset of each row of a lane."""
        return [
            (found[1].decode(errors="replace"), found[0], row.partition, read_row(row.value).next)
            for row in state.rows
            if (found := split_key(row.key, self.source.topics)) is not None
        ]

    def summary(self) -> dict[str, Any]:
        """What is restored, as facts for the audit log."""
        state = self.backup.state
        found: dict[str, Any] = {"backup": {"app": self.backup.app, "madeAt": self.backup.made_at}}
        if not self.keeps_subscriptions:
            found |= {"subscriptions": len(self._wanted), "deleted": len(self._surplus)}
        if not self.keeps_positions:
            found |= {"rows": len(state.rows), "commits": len(state.commits)}
        return found

    async def carry_out(self) -> None:
        """Write everything.

        Raises:
            BrokerError: a write failed. Everything before it has been written.
        """
        revisions = {} if self.keeps_subscriptions else await self._write_subscriptions()
        state = self.now if self.keeps_positions else self.backup.state
        rows: list[tuple[bytes, bytes | None, int]] = [
            (row.key, renumbered(row, self.source.topics, revisions), row.partition) for row in state.rows
        ]
        if not self.keeps_positions:
            rows += [(key, None, partition) for key, partition in self._surplus_rows]
        connection = self.source.connection
        await write_records(connection, cursors_topic(self.app), rows)
        commits = state.commits
        if not self.keeps_subscriptions:
            commits = {place: begun(commit, revisions.values()) for place, commit in commits.items()}
        if commits:
            offsets = {place: commit.offset for place, commit in commits.items()}
            metadata = {place: commit.metadata for place, commit in commits.items()}
            await commit_positions(connection, self.app, offsets, metadata)

    async def _write_subscriptions(self) -> dict[bytes, Renumbering]:
        there = {each.key: each.offset for each in self.now.subscriptions} if self.keeps_positions else {}
        wanted = self._wanted
        records: list[tuple[bytes, bytes | None, int]] = [(key, None, 0) for key in self._surplus]
        records += [(each.key, without_creation(each.value), 0) for each in wanted]
        offsets = await write_records(self.source.connection, subscriptions_topic(self.app), records)
        written = offsets[len(self._surplus) :]
        return {
            each.key: Renumbering(created(each), there.get(each.key, each.offset), revision, has_start(each))
            for each, revision in zip(wanted, written, strict=True)
        }
