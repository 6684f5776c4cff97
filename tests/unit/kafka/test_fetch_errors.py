"""aiokafka's fetcher continues after a second error of a partition while the first one is unread."""

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.errors import NoOffsetForPartitionError

from pipeline.kafka import records

CHANGELOG = TopicPartition("tokens-changelog", 0)


def test_later_errors_of_a_partition_do_not_replace_the_first() -> None:
    assert Fetcher._set_error is records.keep_first_error
    fetcher = Fetcher.__new__(Fetcher)
    fetcher._records, fetcher._prefetch_backoff = {}, 0.1
    first, second = NoOffsetForPartitionError(CHANGELOG), NoOffsetForPartitionError(CHANGELOG)
    fetcher._set_error(CHANGELOG, first)
    kept = fetcher._records[CHANGELOG]
    fetcher._set_error(CHANGELOG, second)
    assert fetcher._records == {CHANGELOG: kept}
