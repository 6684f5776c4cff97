"""Faults in the routing of a definition, in the starts of subscriptions, and in migrations from Gravitee."""

from typing import Final

from tests.mutants.mutant import Mutant

OFFSETS: Final = "tests/broker/test_beginnings.py::"
EDITS: Final = "tests/unit/subscriptions/test_start_offsets.py::"
RESOLVE: Final = "tests/unit/subscriptions/test_resolve.py::"
DEFINITION: Final = "tests/unit/config/test_definition.py::"
SHAPES: Final = "tests/unit/config/test_gravitee.py::"
IMPORT: Final = "tests/unit/subscriptions/test_gravitee.py::"

BEGINNINGS: Final = (
    Mutant(
        "a subscription begins before transactions that were open",
        "pipeline/kafka/log_positions.py",
        was='isolation_level="read_uncommitted"',
        becomes='isolation_level="read_committed"',
        tests=(f"{OFFSETS}test_startfrom_now_comes_after_events_of_open_transactions",),
    ),
    Mutant(
        "a time after the last event is the beginning of the log",
        "pipeline/kafka/log_positions.py",
        was="[end if (offset := found[tp]) is None",
        becomes="[0 if (offset := found[tp]) is None",
        tests=(f"{OFFSETS}test_startfrom_a_time_begins_at_that_time_or_at_the_end",),
    ),
    Mutant(
        "the id of the topic is not stored with the offsets",
        "pipeline/subscriptions/group_start_offsets.py",
        was='"topicId": topic_id',
        becomes='"topicId": None',
        tests=(f"{OFFSETS}test_a_recreated_topic_is_recognised_by_its_id",),
    ),
    Mutant(
        "the position of a group that still has members is used",
        "pipeline/subscriptions/group_start_offsets.py",
        was="    elif group.members:",
        becomes="    elif False:",
        tests=(f"{OFFSETS}test_a_group_that_still_has_members_is_refused",),
    ),
    Mutant(
        "positions are exported to a group whose members can't be seen",
        "pipeline/cli/export_positions.py",
        was="if group.members != 0",
        becomes="if group.members",
        tests=("tests/unit/cli/test_positions.py::test_positions_of_a_group_that_may_have_members_are_kept",),
    ),
    Mutant(
        "a backup is restored while the group's members can't be seen",
        "pipeline/cluster/restore.py",
        was="if self.now.members != 0:",
        becomes="if self.now.members:",
        tests=("tests/unit/cluster/test_backup.py::test_a_restore_needs_a_group_without_members",),
    ),
    Mutant(
        "a subscription continues one event after the group's position",
        "pipeline/kafka/group_positions.py",
        was="[partition] = position.offset",
        becomes="[partition] = position.offset + 1",
        tests=(f"{OFFSETS}test_a_subscription_can_begin_at_the_offsets_of_a_group",),
    ),
    Mutant(
        "a new subscription begins where the group is",
        "pipeline/subscriptions/store.py",
        was="new = starts.begun(wanted) if known is None else wanted",
        becomes="new = wanted",
        tests=(
            f"{OFFSETS}test_startfrom_now_begins_after_all_existing_events",
            "tests/broker/test_beginnings_under_load.py::test_a_subscription_begins_exactly_at_its_creation",
        ),
    ),
    Mutant(
        "an edit forgets where the subscription begins",
        "pipeline/subscriptions/start_offsets.py",
        was='("start_from", "start", "created_revision")',
        becomes='("start_from", "created_revision")',
        tests=(
            f"{EDITS}test_an_edit_keeps_the_start",
            f"{OFFSETS}test_an_edit_keeps_the_start_and_the_revision_of_creation",
        ),
    ),
    Mutant(
        "an edit counts as a creation",
        "pipeline/subscriptions/crossing.py",
        was="if known is not None and is_for_match:",
        becomes="if known is None:",
        tests=(f"{OFFSETS}test_an_edit_keeps_the_start_and_the_revision_of_creation",),
    ),
    Mutant(
        "another beginning in an edit is ignored",
        "pipeline/subscriptions/start_offsets.py",
        was="_place(wanted.start_from) != _place(stored.start_from)",
        becomes="False",
        tests=(f"{EDITS}test_an_edit_that_asks_for_another_start_is_refused",),
    ),
    Mutant(
        "a document may set the start offsets",
        "pipeline/subscriptions/envelope.py",
        was="if key not in WRITTEN_BY_STORE}",
        becomes="if key}",
        tests=("tests/unit/subscriptions/test_schema.py::test_only_a_record_may_contain_the_start",),
    ),
    Mutant(
        "a record that can't be read has no beginning",
        "pipeline/subscriptions/resolve.py",
        was='_readable(_STARTS, record.get("start"))',
        becomes="None",
        tests=(
            f"{RESOLVE}test_a_broken_subscription_keeps_its_start",
            f"{OFFSETS}test_a_corrected_record_keeps_the_start_of_the_subscription",
        ),
    ),
    Mutant(
        "with key, fields for match have an effect",
        "pipeline/subscriptions/resolve.py",
        was="matches = definition.stated_routing is Routing.MATCH",
        becomes="matches = True",
        tests=(f"{RESOLVE}test_with_key_the_fields_of_match_have_no_effect",),
    ),
    Mutant(
        "a delayed commit overwrites begun-to of a partition that was given back",
        "pipeline/runtime/consumer.py",
        was="if TP(*tp) in assigned and self._sources[tp.topic].is_open(tp.partition)",
        becomes="if TP(*tp) in assigned",
        tests=("tests/unit/runtime/test_commits.py::test_no_commit_follows_a_partition_s_last_commit",),
    ),
    Mutant(
        "the routing in the setting silently replaces that in the definition",
        "pipeline/config/definition.py",
        was="if stated not in {None, routing}:",
        becomes="if stated is False:",
        tests=(f"{DEFINITION}test_the_routing_comes_from_the_definition_or_the_setting",),
    ),
    Mutant(
        "a required filter may be missing",
        "pipeline/subscriptions/start_offsets.py",
        was="if not definition.require_filter or",
        becomes="if True or",
        tests=(f"{EDITS}test_a_definition_may_require_a_filter_or_topics",),
    ),
    Mutant(
        "a policy of Gravitee is left out silently",
        "pipeline/config/definition.py",
        was="for each in losses(document) if each.name not in accepted",
        becomes="for each in losses({}) if each.name not in accepted",
        tests=(f"{SHAPES}test_a_definition_that_would_change_deliveries_is_refused",),
    ),
    Mutant(
        "a subscription in FAILURE is delivered to at once",
        "pipeline/subscriptions/gravitee.py",
        was='"STOPPED" if consumer_status == "FAILURE"',
        becomes='"STARTED" if consumer_status == "FAILURE"',
        tests=(f"{IMPORT}test_a_page_of_subscriptions_is_imported",),
    ),
    Mutant(
        "the terminal shows the secrets of a definition",
        "pipeline/config/gravitee/masked.py",
        was="MASKED_FIELD if name in _SECRETS else _masked(value)",
        becomes="_masked(value)",
        tests=(f"{IMPORT}test_the_shown_result_contains_no_secret",),
    ),
    Mutant(
        "positions are exported while workers run",
        "pipeline/cli/export_positions.py",
        was="if group.members != 0",
        becomes="if name != app and group.members != 0",
        tests=("tests/broker/test_cli_import.py::test_positions_are_not_exported_while_a_worker_runs",),
    ),
)
