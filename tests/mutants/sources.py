"""Faults in the treatment of several source topics."""

from typing import Final

from tests.mutants.mutant import Mutant

TESTS: Final = "tests/unit/core/test_sources.py::"
ROW_KEYS: Final = "tests/unit/kafka/test_row_keys.py::"
ASSIGNOR: Final = "tests/unit/runtime/test_assignor.py::"

SOURCES: Final = (
    Mutant(
        "a command about one topic is carried out in all",
        "pipeline/core/commands.py",
        was="names(target, self._worker.topic,",
        becomes="names(target, target.topic or self._worker.topic,",
        tests=(
            f"{TESTS}test_a_failure_and_a_skip_affect_one_topic_only",
            f"{TESTS}test_a_replay_goes_back_in_one_topic_only",
        ),
    ),
    Mutant(
        "only the topic that gets events frees memory",
        "pipeline/core/dispatcher.py",
        was="(partition for peer in self.peers for partition in peer.partitions())",
        becomes="(partition for partition in self.partitions())",
        tests=(f"{TESTS}test_all_topics_share_one_memory_limit",),
    ),
    Mutant(
        "a topic that becomes a source is delivered from 0 on",
        "pipeline/core/subscription.py",
        was="            return None  # the topic was not a source when the subscription was created",
        becomes="            return 0",
        tests=("tests/unit/core/test_fan_out.py::test_start_offsets_of_a_former_topic_are_ignored",),
    ),
    Mutant(
        "rows of several topics have the same keys",
        "pipeline/kafka/row_keys.py",
        was="return key if self.is_alone else self._prefix + key",
        becomes="return key",
        tests=(f"{ROW_KEYS}test_several_topics_have_separate_rows",),
    ),
    Mutant(
        "a topic that is added takes the rows of the former only topic",
        "pipeline/kafka/row_keys.py",
        was="return named in ids or (self.is_alone and ids == {None})",
        becomes="return True",
        tests=(f"{ROW_KEYS}test_a_topic_keeps_its_rows_when_another_is_added",),
    ),
    Mutant(
        "a member gets partitions of topics that it does not read",
        "pipeline/runtime/assignor.py",
        was="            if topic in self._reads[member]\n",
        becomes="",
        tests=(f"{ASSIGNOR}test_a_member_gets_no_topic_that_it_does_not_read",),
    ),
    Mutant(
        "a number is assigned that a topic does not have",
        "pipeline/runtime/assignor.py",
        was=" if number < self._counts[topic]]",
        becomes="]",
        tests=(f"{ASSIGNOR}test_equal_partition_numbers_belong_to_the_same_member",),
    ),
)
