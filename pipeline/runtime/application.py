"""The Faust application, with the consumer of this pipeline (consumer.py) in place of Faust's.

Two private names are only read, so their absence would raise an error: App._consumer, and Producer._producer. The
metadata of the latter is refreshed when partitions are added.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, cast

import faust
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.utils.objects import cached_property
from mode.utils.queues import FlowControlEvent

from pipeline.core.patches import Patch, looks_up
from pipeline.core.rate_limit import share_by_partitions, share_by_sizes
from pipeline.runtime.consumer import DeliveryConsumer
from pipeline.runtime.consumer_thread import DeliveryConsumerThread, Parts


class FlowControl(FlowControlEvent):
    """Faust's flow control between consumer and streams.

    When a recovery ends, Faust resumes the flow, and this empties the queues. If the flow was not suspended before, the
    queues may hold records that were just fetched, which must not be lost.
    """

    def resume(self) -> None:
        """Resume the flow, unless it is active already."""
        if not self.is_active():
            super().resume()


class DeliveryTransport(driver.Transport):
    """Faust's aiokafka transport with `DeliveryConsumer`."""

    Consumer: ClassVar[type[driver.Consumer]] = DeliveryConsumer


class DeliveryApp(faust.App):
    """A Faust application whose source topics are read by `DeliveryConsumer`.

    Some parts that the consumer needs are built from the application's tables. So the application is created first, and
    gets the parts before it starts.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._parts: Parts | None = None

    def use(self, parts: Parts) -> None:
        """Set the parts, once and before the start."""
        if self._parts is not None:
            raise RuntimeError("use() was called twice")
        self._parts = parts

    @property
    def parts(self) -> Parts:
        """The parts of the pipeline that its consumer needs."""
        if self._parts is None:
            raise RuntimeError("use() has not been called yet")
        return self._parts

    @cached_property
    def flow_control(self) -> FlowControl:
        """Faust's flow control, which is changed to lose no records."""
        return FlowControl(loop=self.loop)

    def _new_transport(self) -> DeliveryTransport:
        return DeliveryTransport(self.conf.broker_consumer, self)

    @property
    def delivery_consumer(self) -> DeliveryConsumer:
        """The consumer, with its real type."""
        return cast("DeliveryConsumer", self.consumer)

    @property
    def _member(self) -> DeliveryConsumerThread | None:
        return None if self._consumer is None else self.delivery_consumer.delivery_thread

    async def learn_partitions(self, counts: Mapping[str, int]) -> None:
        """See `expansion.TopicClients`."""
        if self._member is not None:
            changelogs = dict.fromkeys(self.tables.changelog_topics, max(counts.values()))
            await self._member.learn_partitions({**changelogs, **counts})

    def learn_topic_id(self, topic: str, topic_id: str | None) -> None:
        """See `expansion.TopicClients`."""
        # A worker without partitions does not learn the new id when it rejoins. So it would rejoin at every check.
        if self.parts.log_checks[topic].is_another(topic_id) and self.parts.sources[topic].assigned:
            self.rejoin()

    @property
    def is_out_of_reach(self) -> bool:
        """See `membership.GroupMember`."""
        return self._member is None or self._member.is_out_of_reach

    def rejoin(self) -> None:
        """See `membership.GroupMember`."""
        if self._member is not None:
            self._member.rejoin()

    def partition_counts(self) -> dict[str, int]:
        """The number of partitions of each source topic whose number is known."""
        try:
            found = {topic: self.consumer.topic_partitions(topic) for topic in self.parts.sources.topics}
        except Exception:  # noqa: BLE001 - the driver raises various errors before the group is joined
            return {}
        return {topic: count for topic, count in found.items() if count is not None}

    def share(self) -> float:
        """With `routing: match`, this worker's share of a subscription's rate."""
        return share_by_partitions(len(self.parts.sources.partitions()), self.partition_counts().values())

    def share_by_key(self) -> float:
        """With `routing: key`, this worker's share of a subscription's rate."""
        return share_by_sizes(len(self.parts.sources.partitions()), self.partition_counts().values())

    def end_of(self, topic: str, partition: int) -> int | None:
        """The end of a partition's readable log; None if unknown."""
        try:
            return self.consumer.highwater(TP(topic, partition))
        except Exception:  # noqa: BLE001 - the driver raises various errors for a partition that was just revoked
            return None

    async def expect_rows(self, count: int) -> None:
        """Refresh the metadata of the tables' producer, because it refuses rows of unknown partitions."""
        producer = cast("driver.Producer", self.producer)._producer  # noqa: SLF001 - Faust has no public access to it
        if producer is not None:
            found = map(producer.client.cluster.partitions_for_topic, self.tables.changelog_topics)
            # A topic that the producer does not know yet is looked up at the first write.
            if any(known and len(known) < count for known in found):
                await producer.client.force_metadata_update()

    async def on_stop(self) -> None:
        """On SIGTERM, drain and close all partitions while the producers still run; then stop Faust."""
        try:
            if self._consumer is not None:
                self._consumer.stop_flow()
                self.flow_control.suspend()
                await self.delivery_consumer.give_back(self.parts.sources.partitions())
        finally:
            await self.parts.log_checks.close()
            # Also after an error: without this, Faust would wait indefinitely.
            await super().on_stop()


_THREAD: Final = "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread."
_TAKEN_IN: Final = "Faust handles and commits events by its own rules"

PATCHES: Final = tuple(
    Patch("faust-streaming", name, without, looks_up(function, name.partition(".")[2]))
    for name, function, without in (
        ("App._new_transport", "faust:App.transport", _TAKEN_IN),
        (
            "App.flow_control",
            "faust.tables.recovery:Recovery.on_recovery_completed",
            "events that were fetched before the end of a recovery are lost",
        ),
        ("Transport.Consumer", "faust.transport.base:Transport.create_consumer", _TAKEN_IN),
        (
            "Consumer._new_consumer_thread",
            "faust.transport.consumer:ThreadDelegateConsumer.__init__",
            "no lease is renewed and nothing is delivered",
        ),
        ("Consumer.RebalanceListener", f"{_THREAD}__post_init__", "events from before a rebalance count as current"),
        (
            "AIOKafkaConsumerThread._create_worker_consumer",
            f"{_THREAD}_create_consumer",
            "commits do not name the topic, and events of aborted transactions are delivered",
        ),
        (
            "AIOKafkaConsumerThread._fetch_records",
            f"{_THREAD}getmany",
            "an offset out of range or a missing right ends the worker",
        ),
        (
            "PartitionAssignor._perform_assignment",
            "faust.assignor:PartitionAssignor._assign",
            "tokens and events of a partition are assigned to different workers while topics are expanded",
        ),
        (
            "PartitionAssignor._protocol_assignments",
            "faust.assignor:PartitionAssignor._perform_assignment",
            "workers are assigned partitions that a topic does not have",
        ),
    )
)
