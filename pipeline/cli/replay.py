"""`webhooks subscriptions replay`: delivers events again."""

from typing import Final

import click

from pipeline.cli.bulk import change_matching
from pipeline.cli.changes import change_one, preview_one
from pipeline.cli.events import OFFSET, PARTITION, TOPIC_OPTION, read_since, since_option, topic_option
from pipeline.cli.named import outcomes_of
from pipeline.cli.previews import Preview
from pipeline.cli.running import configured
from pipeline.cli.selection import Selection, selected
from pipeline.cluster.effects import Effect, SourceOffset, effects_of_replay, offsets_since
from pipeline.cluster.positions import Position
from pipeline.core.sources import TopicPartition
from pipeline.core.subscription import Subscription
from pipeline.subscriptions.edits import going_on_from
from pipeline.subscriptions.resolve import replay_time_ms

START: Final = "name the start: either --partition and --offset, or --since"


@click.command("replay")
@click.option("--partition", type=PARTITION, help="Partition of the source topic, with --offset.")
@click.option("--offset", type=OFFSET, help="Deliver again from this offset on.")
@topic_option
@since_option("Deliver from this time on, in every partition")
@click.option("--discard-waiting", is_flag=True, help="Allow a replay that moves forward and discards waiting events.")
@selected
def command(
    *,
    selection: Selection,
    partition: int | None,
    offset: int | None,
    topic: str | None,
    since: str | None,
    discard_waiting: bool,
) -> None:
    """Deliver events again, from an offset of one partition or from a time in all partitions.

    Unless --discard-waiting is set, a replay never skips waiting events. With --all and --since, all subscriptions that
    match every filter are replayed, after a preview.
    """
    is_by_time = since is not None and (partition, offset, topic) == (None, None, None)
    is_by_offset = since is None and partition is not None and offset is not None
    if not is_by_time and not is_by_offset:
        raise click.UsageError(START)
    if selection.wanted is None and len(selection.ids) != 1:
        raise click.UsageError("name one subscription, or use --all")
    if selection.wanted is not None and (is_by_offset or discard_waiting):
        raise click.UsageError("with --all: --since is required, and --discard-waiting is not allowed")
    since = None if since is None else read_since(since)  # raises errors before any question or write
    where = {"topic": topic, "partition": partition, "offset": offset, "timestamp": since}
    definition = configured()[1]
    edit = going_on_from({**where, "discardWaiting": discard_waiting or None}, definition if is_by_offset else None)
    source = definition.source_topic(topic, TOPIC_OPTION) if is_by_offset else ""
    if selection.wanted is not None:
        change_matching("replay", edit, selection)
        return

    async def effects(known: Subscription, found: list[Position]) -> list[Effect]:
        offsets: dict[TopicPartition, int | None] = {}
        if partition is not None:
            offsets[TopicPartition(source, partition)] = offset
        if since is not None:
            offsets = dict.fromkeys(each.tp for each in found)
            known_at = [each.tp for each in found if each.next is not None]
            offsets |= await offsets_since(definition, known_at, replay_time_ms(since))
        return await effects_of_replay(*configured(), known, found, offsets, discards=discard_waiting)

    [name] = selection.ids
    target = None if partition is None or offset is None else SourceOffset(source, partition, offset)
    preview = Preview(name, effects, target, is_always_shown=discard_waiting)
    if selection.dry_run:
        preview_one(preview, selection.output)
        return
    outcomes = outcomes_of("replay", selection)
    change_one(lambda store: store.edit(name, edit), selection.output, preview, outcomes)
    outcomes.end()
