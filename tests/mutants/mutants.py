"""All faults, by module. The faults in this file are in code that works with Kafka, Faust or aiohttp.

Faults in lanes and partitions are in tests/simulation/mutants.py.
"""

from typing import Final

from tests.mutants.addressed import ADDRESSED
from tests.mutants.beginnings import BEGINNINGS
from tests.mutants.clocks import CLOCKS
from tests.mutants.matching import MATCHING
from tests.mutants.mutant import Mutant
from tests.mutants.pages import PAGES
from tests.mutants.reports import REPORTS
from tests.mutants.sources import SOURCES
from tests.mutants.strangers import STRANGERS

APP: Final = "tests/unit/test_app.py::"
BACKLOG: Final = "tests/broker/test_backlog.py::"
CURSORS: Final = "tests/broker/test_cursors.py::"
DEAD_LETTER: Final = "tests/broker/test_dead_letter.py::"
FIRST_START: Final = "tests/broker/test_first_start.py::"
LOG_BREAKS: Final = "tests/broker/test_log_breaks.py::"
EXPANSION: Final = "tests/broker/test_growth.py::"
COMMITS: Final = "tests/unit/runtime/test_commits.py::"
CONSUMER: Final = "tests/unit/runtime/test_consumer.py::"
CONSUMER_THREAD: Final = "tests/unit/runtime/test_consumer_thread.py::"
LOG_CHECK: Final = "tests/unit/runtime/test_log_check.py::"
MEMBERSHIP: Final = "tests/unit/runtime/test_membership.py::"
PATCHES: Final = "tests/unit/test_patches.py::"
PROBING: Final = "tests/unit/core/test_probing.py::"
SOURCE_LOG: Final = "tests/unit/kafka/test_source_log.py::"
SUBSCRIPTIONS: Final = "tests/broker/test_subscriptions.py::"
CROSSING: Final = "tests/broker/test_crossing.py::"
ORDERS: Final = "tests/unit/subscriptions/test_crossing.py::"
TOKENS: Final = "tests/unit/auth/test_token_cache.py::"
BURST: Final = "tests/unit/http/test_burst.py::"
PLAIN: Final = "tests/unit/http/test_plain_success.py::"
TRANSPORT: Final = "tests/unit/http/test_transport.py::"

DISPATCHER: Final = "tests/unit/core/test_dispatcher.py::"
TOPIC_ROWS: Final = "tests/broker/test_topic_rows.py::"

EDIT: Final = '            ConflictError: the subscription is closed.\n        """\n'
"""The end of the docstring of `SubscriptionStore.edit`."""

MUTANTS: Final = (
    # ----------------------------------------------------------- core/matching.py
    *ADDRESSED,
    *SOURCES,
    *BEGINNINGS,
    *MATCHING,
    *PAGES,
    *REPORTS,
    *CLOCKS,
    *STRANGERS,
    # ----------------------------------------------------------- agents/deliver.py, app.py
    Mutant(
        "batches of an earlier generation are dispatched",
        "agents/deliver.py",
        was="if fetch.message.generation_id == app.consumer_generation_id:",
        becomes="if True:",
        tests=(f"{CONSUMER}test_a_batch_from_before_a_rebalance_is_dropped",),
    ),
    Mutant(
        "the lease is not checked right before the write",
        "pipeline/app.py",
        was="telemetry, ids, lease.check)",
        becomes="telemetry, ids)",
        tests=(f"{APP}test_no_request_begins_without_the_lease",),
    ),
    Mutant(
        "the lease never ends",
        "pipeline/app.py",
        was="Lease(settings.session_seconds - MARGIN_SECONDS)",
        becomes="Lease(NEVER_SECONDS)",
        tests=(f"{APP}test_the_lease_ends_before_the_session_of_the_group",),
    ),
    Mutant(
        "tokens of a closed partition are kept",
        "pipeline/app.py",
        was="on_closed=tokens.release",
        becomes="on_closed=lambda _: None",
        tests=(f"{APP}test_a_closed_partition_releases_its_tokens",),
    ),
    Mutant(
        "changelogs are expanded before the topic of cursors",
        "pipeline/app.py",
        was="(cursors_topic(settings.app), tokens_topic(settings.app))",
        becomes="(tokens_topic(settings.app), cursors_topic(settings.app))",
        tests=(f"{APP}test_changelogs_are_expanded_after_the_topic_of_rows",),
    ),
    Mutant(
        "aiokafka chooses an offset by itself",
        "pipeline/app.py",
        was='consumer_auto_offset_reset="none"',
        becomes='consumer_auto_offset_reset="latest"',
        tests=(f"{APP}test_aiokafka_never_chooses_an_offset_by_itself",),
    ),
    # ----------------------------------------------------------- runtime/consumer.py
    Mutant(
        "records fetched before a rebalance are handed out after it",
        "pipeline/runtime/consumer.py",
        was="return self.flow_active and generation == self.app.consumer_generation_id",
        becomes="return self.flow_active",
        tests=(f"{CONSUMER}test_a_fetch_that_spans_a_rebalance_is_dropped_and_repeated",),
    ),
    Mutant(
        "records fetched before a rebalance are skipped",
        "pipeline/runtime/consumer_thread.py",
        was="        self._seek_back(consumer)\n",
        becomes="",
        tests=(f"{CONSUMER}test_a_fetch_that_spans_a_rebalance_is_dropped_and_repeated",),
    ),
    Mutant(
        "resuming an active flow drops queued records",
        "pipeline/runtime/application.py",
        was="        if not self.is_active():\n",
        becomes="        if True:\n",
        tests=(f"{CONSUMER}test_resuming_twice_drops_no_event",),
    ),
    Mutant(
        "a batch counts as dispatched when it is fetched",
        "pipeline/runtime/consumer.py",
        was="records = found or {}\n",
        becomes="records = found or {}\n        [self.delivery_thread.reached_stream(tp) for tp in records]\n",
        tests=(f"{CONSUMER}test_batches_that_the_stream_did_not_take_are_fetched_again",),
    ),
    Mutant(
        "a search for an offset outlives its assignment",
        "pipeline/runtime/consumer.py",
        was="            seeking.cancel()\n",
        becomes="            pass\n",
        tests=(f"{COMMITS}test_giving_back_a_partition_cancels_its_offset_search",),
    ),
    Mutant(
        "a batch that did not reach the stream is skipped like a gap",
        "pipeline/runtime/consumer_thread.py",
        was="min(at, self._not_in_stream.get(TP(topic, number), at))",
        becomes="at",
        tests=(f"{CONSUMER_THREAD}test_the_next_fetch_begins_at_the_lost_batch",),
    ),
    Mutant(
        "the second of two successive gaps is not skipped",
        "pipeline/runtime/consumer.py",
        was="                    self._next_offsets[tp] = position\n",
        becomes="                    pass\n",
        tests=("tests/broker/test_transactions.py::test_aborted_events_leave_no_lag",),
    ),
    Mutant(
        "an assignment in the same generation of Kafka is not a new generation",
        "pipeline/runtime/consumer_thread.py",
        was="        app.consumer_generation_id += 1\n",
        becomes="",
        tests=(f"{MEMBERSHIP}test_every_assignment_is_a_new_generation",),
    ),
    Mutant(
        "fetches are not paced",
        "pipeline/kafka/internals.py",
        was="        if (seconds := pause_seconds()) > 0:",
        becomes="        if seconds := 0:",
        tests=("tests/broker/test_paced_fetches.py::test_each_fetch_waits_for_the_pause_that_was_asked_for",),
    ),
    # ----------------------------------------------------------- worker.py
    Mutant(
        "a worker starts although a patch has no effect",
        "pipeline/worker.py",
        was="    check_patches(PATCHES)\n",
        becomes="",
        tests=(f"{PATCHES}test_an_unpatched_parser_is_detected",),
    ),
    # ----------------------------------------------------------- kafka/cursors.py
    Mutant(
        "rows are loaded before the former owner is fenced",
        "pipeline/kafka/cursors.py",
        was="            await producer.start()\n            rows = await self._load()",
        becomes="            rows = await self._load()\n            await producer.start()",
        tests=(f"{CURSORS}test_the_last_row_of_the_former_owner_is_found",),
    ),
    Mutant(
        "partitions share a transactional id",
        "pipeline/kafka/cursors.py",
        was='f"{self._tp.topic}.{self._tp.partition}"',
        becomes="self._tp.topic",
        tests=(f"{CURSORS}test_partitions_of_one_worker_do_not_fence_each_other",),
    ),
    Mutant(
        "rows of a transaction that was not committed are loaded",
        "pipeline/kafka/cursors.py",
        was='isolation_level="read_committed"',
        becomes='isolation_level="read_uncommitted"',
        tests=(f"{CURSORS}test_the_former_owner_s_open_transaction_is_aborted_first",),
    ),
    Mutant(
        "only the rows of the first fetch are loaded",
        "pipeline/kafka/cursors.py",
        was="while await consumer.position(tp) < end:",
        becomes="if await consumer.position(tp) < end:",
        tests=(f"{CURSORS}test_the_next_owner_finds_the_newest_row_of_each_lane",),
    ),
    Mutant(
        "the oldest of a lane's waiting rows is written",
        "pipeline/kafka/cursors.py",
        was="self._group.rows[key] = value",
        becomes="self._group.rows.setdefault(key, value)",
        tests=(f"{CURSORS}test_only_the_newest_waiting_row_of_a_lane_is_written",),
    ),
    Mutant(
        "rows are written outside of a transaction",
        "pipeline/kafka/cursors.py",
        was="async with producer.transaction():",
        becomes="if True:",
        tests=(f"{CURSORS}test_the_rows_of_a_former_owner_are_refused",),
    ),
    Mutant(
        "rows count although their commit has failed",
        "pipeline/kafka/cursors.py",
        was="await asyncio.sleep(RETRY_PAUSE_SECONDS)\n            else:\n",
        becomes="pass\n            if True:\n",
        tests=(f"{CURSORS}test_a_row_counts_only_after_its_transaction_is_committed",),
    ),
    Mutant(
        "rows that wait behind fenced rows are forgotten",
        "pipeline/kafka/cursors.py",
        was="        group.waiters += self._group.waiters\n",
        becomes="",
        tests=(f"{CURSORS}test_rows_queued_behind_fenced_rows_are_refused",),
    ),
    Mutant(
        "a broken producer is tried again indefinitely",
        "pipeline/kafka/internals.py",
        was="transactions is not None and transactions.state is not TransactionState.READY",
        becomes="transactions is None",
        tests=(f"{CURSORS}test_a_producer_with_a_fatal_error_is_given_up",),
    ),
    Mutant(
        "a close forgets waiting rows",
        "pipeline/kafka/cursors.py",
        was="while not (self._closing and not self._group.rows):",
        becomes="while not self._closing:",
        tests=(f"{CURSORS}test_a_close_writes_waiting_rows",),
    ),
    Mutant(
        "a transactional id is not kept alive",
        "pipeline/kafka/cursors.py",
        was="self._group.rows[KEEP_ALIVE_KEY] = None",
        becomes="pass",
        tests=(f"{CURSORS}test_a_transactional_id_stays_in_use_without_any_rows",),
    ),
    Mutant(
        "a bug ends the task that writes rows",
        "pipeline/kafka/cursors.py",
        was="except Exception as error:",
        becomes="except ZeroDivisionError as error:",
        tests=(f"{CURSORS}test_a_bug_in_writing_rows_fences_the_partition",),
    ),
    Mutant(
        "a partition opens before the stored id of its topic is durable",
        "pipeline/kafka/topic_rows.py",
        was="            await written\n",
        becomes="",
        tests=(f"{TOPIC_ROWS}test_a_partition_opens_after_its_topic_id_is_durable",),
    ),
    Mutant(
        "a store that is fenced while it opens causes no rejoin",
        "pipeline/core/dispatcher.py",
        was="                self._fenced.add(number)  # only the group knows whether there is a newer owner\n",
        becomes="",
        tests=(f"{DISPATCHER}test_a_partition_that_is_fenced_while_it_opens_is_listed",),
    ),
    # ----------------------------------------------------------- kafka/log_reader.py
    Mutant(
        "the bounds of a log may belong to another topic than its id",
        "pipeline/kafka/source_log.py",
        was="if (await describe_topic(client_of(consumer), self._topic)).id == topic.id:",
        becomes="if True:",
        tests=(f"{SOURCE_LOG}test_bounds_and_id_of_a_log_are_read_from_the_same_topic",),
    ),
    Mutant(
        "events of aborted transactions are counted",
        "pipeline/kafka/log_reader.py",
        was="EventCounter(self._connection, self._isolation_level)",
        becomes='EventCounter(self._connection, "read_uncommitted")',
        tests=(f"{BACKLOG}test_aborted_events_are_not_counted",),
    ),
    Mutant(
        "a read skips an event",
        "pipeline/kafka/log_reader.py",
        was="consumer.seek(tp, wanted.start)",
        becomes="consumer.seek(tp, wanted.start + 1)",
        tests=(f"{BACKLOG}test_the_log_reader_can_go_back_to_an_earlier_offset",),
    ),
    Mutant(
        "partitions are assigned without a position",
        "pipeline/kafka/log_reader.py",
        was="            consumer.seek(each, offset)",
        becomes="            if each == tp:\n                consumer.seek(each, offset)",
        tests=(f"{BACKLOG}test_partitions_are_read_in_turn",),
    ),
    Mutant(
        "a paused partition is not fetched again",
        "pipeline/kafka/log_reader.py",
        was="            consumer.resume(tp)\n            return",
        becomes="            return",
        tests=(f"{BACKLOG}test_the_log_reader_can_go_back_to_an_earlier_offset",),
    ),
    Mutant(
        "a read looks for the keys of the previous read",
        "pipeline/kafka/log_reader.py",
        was="        self._sieve.keys = wanted.keys",
        becomes="        self._sieve.keys = self._sieve.keys or wanted.keys",
        tests=(f"{BACKLOG}test_each_read_uses_the_keys_that_are_wanted_now",),
    ),
    Mutant(
        "a read ends with its last event instead of the position",
        "pipeline/kafka/log_reader.py",
        was="await consumer.position(tp), found.get(tp, ())",
        becomes="max((each.offset + 1 for each in found.get(tp, ())), default=wanted.start), found.get(tp, ())",
        tests=(f"{BACKLOG}test_a_log_that_ends_with_a_marker_is_read_to_its_end",),
    ),
    Mutant(
        "a lane that wants more events is not served again",
        "pipeline/kafka/log_reader.py",
        was="            if self._wanting:\n                self._wanted.set()",
        becomes="            pass",
        tests=(f"{BACKLOG}test_a_partition_is_read_in_order_from_its_position",),
    ),
    Mutant(
        "a consumer that does not answer is kept",
        "pipeline/kafka/log_reader.py",
        was="            if limit.expired():\n                await self._disconnect()\n",
        becomes="",
        tests=(f"{BACKLOG}test_a_consumer_that_does_not_answer_is_replaced",),
    ),
    Mutant(
        "a forgotten partition is still fetched",
        "pipeline/kafka/log_reader.py",
        was="        self._rest(TopicPartition(self._topic, partition.number))",
        becomes="        pass",
        tests=(f"{BACKLOG}test_a_partition_that_wants_no_events_is_not_fetched",),
    ),
    Mutant(
        "a read has no time limit",
        "pipeline/kafka/log_reader.py",
        was="timeout_ms=POLL_MS, max_records=STRETCH_EVENTS)",
        becomes="timeout_ms=POLL_MS)",
        tests=(f"{BACKLOG}test_other_tasks_run_while_a_long_stretch_is_read",),
    ),
    Mutant(
        "deleted offsets are not reported to the partition",
        "pipeline/kafka/log_reader.py",
        was="        partition.log_begins_at(begin)",
        becomes="        consumer.seek(tp, begin)",
        tests=(f"{BACKLOG}test_deleted_offsets_are_reported",),
    ),
    Mutant(
        "the log is read with aborted records",
        "pipeline/kafka/log_reader.py",
        was="            isolation_level=self._isolation_level,",
        becomes='            isolation_level="read_uncommitted",',
        tests=("tests/broker/test_transactions.py::test_only_a_committed_transaction_is_delivered",),
    ),
    # ----------------------------------------------------------- runtime/log_check.py, runtime/initial_offsets.py
    Mutant(
        "a committed offset is not compared with the log",
        "pipeline/runtime/log_check.py",
        was="found = None if commit.offset is None else find_break(commit.offset, commit.topic_id, log)",
        becomes="found = None",
        tests=(f"{LOG_BREAKS}test_an_offset_beyond_the_end_of_the_log_becomes_the_end",),
    ),
    Mutant(
        "the last commit is not compared with the log",
        "pipeline/runtime/consumer.py",
        was="advanced = await self.commit_settled(committable)",
        becomes="advanced = await self.commit_settled(offsets)",
        tests=(f"{LOG_BREAKS}test_a_worker_s_last_commit_leaves_out_a_deleted_topic",),
    ),
    Mutant(
        "an unconfirmed last commit is logged as confirmed",
        "pipeline/runtime/consumer.py",
        was="            if advanced is None:\n                logger.warning(",
        becomes="            if False:\n                logger.warning(",
        tests=(f"{COMMITS}test_an_unconfirmed_last_commit_is_reported",),
    ),
    Mutant(
        "a pause forgets how often an event was tried",
        "pipeline/core/lane.py",
        was="        self._enter(state, cause)\n        self.waits.end()\n",
        becomes="        self._enter(state, cause)\n        self.events.shelved = None\n        self.waits.end()\n",
        tests=("tests/unit/core/test_reconcile.py::test_a_pause_keeps_the_attempt_count_of_a_long_wait",),
    ),
    Mutant(
        "a resume keeps the attempts of the event that caused a FAILURE",
        "pipeline/core/lane.py",
        was="            self.events.forget_tries(self.cause)\n",
        becomes="            pass\n",
        tests=(f"{PROBING}test_a_resume_after_a_crash_in_a_probe_starts_the_count_anew",),
    ),
    Mutant(
        "a resume leaves the end of a long wait in the row",
        "pipeline/core/lane.py",
        was="        self.events.end_wait()\n",
        becomes="",
        tests=("tests/unit/core/test_reconcile.py::test_a_resume_ends_a_long_wait_for_the_next_owner_too",),
    ),
    Mutant(
        "a resume keeps the attempts of the probe that is under way",
        "pipeline/core/lane_events.py",
        was="            probe.tries = probe.tries.anew()\n",
        becomes="            pass\n",
        tests=(f"{PROBING}test_a_resume_during_a_probe_starts_the_count_anew",),
    ),
    Mutant(
        "with QoS none, a clean stop writes no row for queued events",
        "pipeline/core/lane_rows.py",
        was="is_passed = not lane.is_in_window",
        becomes="is_passed = False",
        tests=("tests/unit/core/test_partition.py::test_a_clean_stop_at_qos_none_loses_no_queued_event",),
    ),
    Mutant(
        "a recreated topic counts as the former topic",
        "pipeline/core/log_bounds.py",
        was="if noted is not None and log.topic_id is not None and noted != log.topic_id:",
        becomes="if False:",
        tests=(f"{LOG_BREAKS}test_a_topic_recreated_while_no_worker_runs_is_read_whole",),
    ),
    Mutant(
        "a recreated topic counts as one that was never read",
        "pipeline/runtime/initial_offsets.py",
        was="        if not noted:\n",
        becomes="        if True:\n",
        tests=(
            f"{FIRST_START}test_no_event_of_a_recreated_topic_is_skipped_at_a_start",
            f"{LOG_BREAKS}test_a_recreated_topic_does_not_count_as_a_first_start",
        ),
    ),
    Mutant(
        "the id of the delivered topic is not stored",
        "pipeline/kafka/topic_rows.py",
        was="if topic_id is not None and store.topic_ids.get(self._keys.of(SOURCE_KEY)) != topic_id:",
        becomes="if False:",
        tests=(f"{TOPIC_ROWS}test_the_id_of_the_source_topic_is_stored_once",),
    ),
    Mutant(
        "a note of a deleted topic applies to the recreated one",
        "pipeline/runtime/log_check.py",
        was="    if commit.topic_id is None or commit.topic_id != log.topic_id:",
        becomes="    if False:",
        tests=(f"{LOG_CHECK}test_a_note_of_another_offset_or_log_is_ignored_and_logged",),
    ),
    Mutant(
        "a note applies although its offset is no longer valid",
        "pipeline/runtime/log_check.py",
        was="is_same = found is None and number not in self._suspect",
        becomes="is_same = True",
        tests=(
            f"{LOG_CHECK}test_a_note_of_a_former_topic_is_not_used",
            f"{LOG_CHECK}test_a_note_is_not_used_after_an_offset_out_of_range",
        ),
    ),
    Mutant(
        "a note applies to another offset than its own",
        "pipeline/core/ahead.py",
        was="if base != str(offset):",
        becomes="if False:",
        tests=(f"{LOG_CHECK}test_a_note_of_another_offset_or_log_is_ignored_and_logged",),
    ),
    Mutant(
        "a note that a broker refuses is committed again and again",
        "pipeline/runtime/consumer_thread.py",
        was="                self._is_settled_refused = True\n",
        becomes="",
        tests=(f"{CONSUMER_THREAD}test_a_refused_note_is_left_out_of_the_commit",),
    ),
    # ----------------------------------------------------------- runtime/membership.py
    Mutant(
        "the worker does not rejoin the group",
        "pipeline/runtime/membership.py",
        was="            self._group.rejoin()\n",
        becomes="",
        tests=(f"{MEMBERSHIP}test_the_first_rejoin_is_immediate_and_the_next_one_waits",),
    ),
    Mutant(
        "a worker gives up during an outage of the coordinator",
        "pipeline/runtime/membership.py",
        was=" or self._group.is_out_of_reach",
        becomes="",
        tests=(f"{MEMBERSHIP}test_the_worker_waits_while_the_coordinator_is_unavailable",),
    ),
    # ----------------------------------------------------------- kafka/expansion.py
    Mutant(
        "the group is notified before its topics are expanded",
        "pipeline/kafka/expansion.py",
        was="        if problems:\n            return\n",
        becomes="",
        tests=(f"{EXPANSION}test_no_rebalance_begins_while_a_topic_can_t_be_expanded",),
    ),
    Mutant(
        "topics are expanded although an earlier one could not be",
        "pipeline/kafka/expansion.py",
        was="                return [_refused(name, count, error)]",
        becomes="                continue",
        tests=(f"{EXPANSION}test_a_topic_that_can_t_be_expanded_stops_the_expansion",),
    ),
    Mutant(
        "the group is notified only once",
        "pipeline/kafka/expansion.py",
        was="        if not known:\n            return  # the first check",
        becomes="        if known == counts or not known:\n            return  # the first check",
        tests=(f"{EXPANSION}test_the_group_is_notified_when_all_topics_are_expanded",),
    ),
    # ----------------------------------------------------------- kafka/dead_letters.py
    Mutant(
        "a dead letter counts before it is confirmed",
        "pipeline/kafka/dead_letters.py",
        was="await producer.send_and_wait(self.topic",
        becomes="await producer.send(self.topic",
        tests=(f"{DEAD_LETTER}test_a_permanently_refused_letter_is_reported_at_once",),
    ),
    Mutant(
        "a dead letter counts although its write has failed",
        "pipeline/kafka/dead_letters.py",
        was="                await asyncio.sleep(pause)",
        becomes="                return",
        tests=(f"{DEAD_LETTER}test_a_dead_letter_waits_for_a_broker_that_is_down",),
    ),
    Mutant(
        "a producer is kept after a refused record",
        "pipeline/kafka/dead_letters.py",
        was="                await self._producer.replace(producer)",
        becomes="                pass",
        tests=(f"{DEAD_LETTER}test_a_refused_letter_does_not_hold_up_later_ones",),
    ),
    # ----------------------------------------------------------- kafka/tail.py, subscriptions/store.py
    Mutant(
        "a newer revision overtakes an older one whose store is being opened",
        "pipeline/subscriptions/record_reader.py",
        was="if not is_slow and subscription_id not in self._waiting_of:",
        becomes="if not is_slow:",
        tests=("tests/unit/subscriptions/test_record_reader.py::test_a_costly_store_affects_only_its_own_revision",),
    ),
    Mutant(
        "partitions open before the stores of their subscriptions",
        "pipeline/subscriptions/registry.py",
        was="await self._tail.ready()\n        await self._parsed()",
        becomes="await self._tail.ready()",
        tests=("tests/broker/test_subscriptions.py::test_the_registry_is_ready_after_its_key_stores_are_opened",),
    ),
    Mutant(
        "a late caller shares a lookup that is under way",
        "pipeline/kafka/tail.py",
        was=(
            "            self._lookup = None\n"
            "            while True:\n"
            "                try:\n"
            "                    return await self._end()"
        ),
        becomes=(
            "            while True:\n"
            "                try:\n"
            "                    end = await self._end()\n"
            "                    self._lookup = None\n"
            "                    return end"
        ),
        tests=(f"{SUBSCRIPTIONS}test_a_caller_during_a_lookup_of_the_end_gets_a_new_lookup",),
    ),
    Mutant(
        "all callers get the result of the first lookup",
        "pipeline/kafka/tail.py",
        was="            self._lookup = None\n            while True:",
        becomes="            while True:",
        tests=(f"{SUBSCRIPTIONS}test_concurrent_callers_share_one_lookup_of_the_end",),
    ),
    Mutant(
        "after a failure all records are read again",
        "pipeline/kafka/tail.py",
        was="reader.seek(self._tp, self.position)",
        becomes="reader.seek(self._tp, 0)",
        tests=(f"{SUBSCRIPTIONS}test_after_a_failure_the_reader_continues_at_its_position",),
    ),
    Mutant(
        "a reader waits for offsets without records",
        "pipeline/kafka/tail.py",
        was="            self.position = await reader.position(self._tp)\n",
        becomes="",
        tests=(f"{SUBSCRIPTIONS}test_offsets_without_records_are_skipped",),
    ),
    Mutant(
        "a producer is used again after a refused record",
        "pipeline/subscriptions/writer.py",
        was="            await self._producer.replace(producer)\n",
        becomes="",
        tests=(f"{SUBSCRIPTIONS}test_a_refused_record_does_not_affect_later_records",),
    ),
    Mutant(
        "an edit does not build on the newest revision",
        "pipeline/subscriptions/store.py",
        was=f"{EDIT}        async with self._turn:\n            await self._registry.caught_up()\n",
        becomes=f"{EDIT}        async with self._turn:\n",
        tests=(f"{CROSSING}test_edits_of_different_fields_are_all_kept",),
    ),
    Mutant(
        "edits in one process are concurrent",
        "pipeline/subscriptions/store.py",
        was=f"{EDIT}        async with self._turn:\n",
        becomes=f"{EDIT}        if True:\n",
        tests=(f"{SUBSCRIPTIONS}test_concurrent_editors_in_a_process_build_on_each_other",),
    ),
    Mutant(
        "a command is carried out again by the next edit",
        "pipeline/subscriptions/edits.py",
        was='update={"resume_from": None, **self.update}',
        becomes="update=self.update",
        tests=(f"{SUBSCRIPTIONS}test_a_skip_and_a_replay_belong_to_one_revision_each",),
    ),
    Mutant(
        "secrets are written unencrypted",
        "pipeline/subscriptions/crossing.py",
        was="self._box.encrypt_secrets(subscription)",
        becomes="subscription",
        tests=(f"{SUBSCRIPTIONS}test_no_secret_is_in_the_topic_or_shown",),
    ),
    # ----------------------------------------------------------- subscriptions/crossing.py
    Mutant(
        "a change of another process is overwritten",
        "pipeline/subscriptions/merging.py",
        was="if not missing and commands == self.read[-1].commands and is_told:",
        becomes="if True:",
        tests=(f"{CROSSING}test_edits_of_different_fields_are_all_kept",),
    ),
    Mutant(
        "a command that another process has overwritten is lost",
        "pipeline/subscriptions/merging.py",
        was="if not missing and commands == self.read[-1].commands and is_told:",
        becomes="if not missing and is_told:",
        tests=(f"{CROSSING}test_no_command_is_lost_because_of_another_change",),
    ),
    Mutant(
        "a change whose condition was not met is kept",
        "pipeline/subscriptions/merging.py",
        was="elif each.since is None and is_met:",
        becomes="elif each.since is None:",
        tests=(f"{CROSSING}test_a_change_that_is_undone_leaves_no_trace",),
    ),
    Mutant(
        "an edit forgets the previous command",
        "pipeline/subscriptions/crossing.py",
        was="commands = () if known is None else known.commands",
        becomes="commands = ()",
        tests=(f"{SUBSCRIPTIONS}test_a_skip_and_a_replay_belong_to_one_revision_each",),
    ),
    Mutant(
        "an undone change repeats the previous command",
        "pipeline/subscriptions/crossing.py",
        was="without_command(lacking.right),",
        becomes="lacking.right,",
        tests=(f"{CROSSING}test_a_change_that_is_undone_repeats_no_command",),
    ),
    Mutant(
        "an edit restores a deleted subscription",
        "pipeline/subscriptions/merging.py",
        was="return None if newest is None else Lacking(None)",
        becomes="return None",
        tests=(
            f"{CROSSING}test_an_edit_does_not_restore_a_deleted_subscription",
            f"{ORDERS}test_no_edit_restores_a_deleted_subscription",
        ),
    ),
    Mutant(
        "a late edit's deletion counts for a subscription created again",
        "pipeline/subscriptions/merging.py",
        was="each.since < self.first and each.value is not None",
        becomes="each.since < self.first",
        tests=(f"{ORDERS}test_no_late_edit_deletes_a_subscription_created_again",),
    ),
    Mutant(
        "a subscription created again builds on a late edit",
        "pipeline/subscriptions/registry.py",
        was="return None if subscription_id in self._late else self.get(subscription_id)",
        becomes="return self.get(subscription_id)",
        tests=(f"{ORDERS}test_no_late_edit_deletes_a_subscription_created_again",),
    ),
    Mutant(
        "one of several edits restores a deleted subscription",
        "pipeline/subscriptions/merging.py",
        was="if is_edit and self.is_deleted:",
        becomes="if False:",
        tests=(f"{ORDERS}test_no_edit_restores_a_deleted_subscription",),
    ),
    Mutant(
        "an edit that was refused is restored by a merge",
        "pipeline/subscriptions/merging.py",
        was="fields.difference(known, *unsure)",
        becomes="fields",
        tests=(f"{ORDERS}test_a_concurrent_close_refuses_only_edits_that_follow_it",),
    ),
    Mutant(
        "a command that was refused is restored by a merge",
        "pipeline/subscriptions/merging.py",
        was="if each.revision not in refused)",
        becomes=")",
        tests=(f"{ORDERS}test_a_concurrent_close_refuses_only_edits_that_follow_it",),
    ),
    Mutant(
        "other writers do not learn that an edit was refused",
        "pipeline/subscriptions/merging.py",
        was="and is_told:",
        becomes=":",
        tests=(f"{ORDERS}test_a_concurrent_close_refuses_only_edits_that_follow_it",),
    ),
    # ----------------------------------------------------------- kafka/event_count.py
    Mutant(
        "a count of several subscriptions goes beyond the range of each",
        "pipeline/kafka/event_count.py",
        was="first <= event.offset < last",
        becomes="first <= event.offset <= last",
        tests=("tests/broker/test_event_count.py::test_events_are_counted_in_the_range_of_each_subscription",),
    ),
    # ----------------------------------------------------------- cli/existing.py
    Mutant(
        "a similar id is suggested without the advice",
        "pipeline/cli/existing.py",
        was='f" Otherwise {advice}" if hint',
        becomes='"" if hint',
        tests=("tests/broker/test_existing.py::test_a_similar_subscription_is_suggested",),
    ),
    Mutant(
        "without a similar id, no advice is given",
        "pipeline/cli/existing.py",
        was='else f"; {advice}"',
        becomes='else ""',
        tests=("tests/broker/test_existing.py::test_a_similar_subscription_is_suggested",),
    ),
    # ----------------------------------------------------------- cluster/fate.py
    Mutant(
        "a worker that was just killed leaves no gap",
        "pipeline/cluster/fate.py",
        was="(has_successor or worker.last",
        becomes="(worker.last",
        tests=("tests/unit/cluster/test_fate.py::test_a_replaced_worker_that_did_not_close_counts_as_killed",),
    ),
    # ----------------------------------------------------------- auth/token_cache.py
    Mutant(
        "a release forgets a request for a token that is under way",
        "pipeline/auth/token_cache.py",
        was="if not grant.partitions and grant.request is None:",
        becomes="if not grant.partitions:",
        tests=(f"{TOKENS}test_a_fetch_continues_when_its_partition_is_released",),
    ),
    Mutant(
        "tokens of a released partition are still used",
        "pipeline/auth/token_cache.py",
        was="            grant.partitions.discard(partition)\n",
        becomes="",
        tests=(f"{TOKENS}test_a_partition_that_is_assigned_again_reads_its_row_again",),
    ),
    Mutant(
        "a token is written for only one of its partitions",
        "pipeline/auth/token_cache.py",
        was="            for partition in grant.partitions:\n                self._save(grant, partition, outcome)",
        becomes="            self._save(grant, min(grant.partitions), outcome)",
        tests=(f"{TOKENS}test_a_renewal_updates_the_rows_of_all_partitions",),
    ),
    Mutant(
        "a cancelled lane ends the fetch for all",
        "pipeline/auth/token_cache.py",
        was="await asyncio.shield(grant.request or self._start_request(grant, subscription))",
        becomes="await (grant.request or self._start_request(grant, subscription))",
        tests=(f"{TOKENS}test_a_cancelled_lane_does_not_end_the_fetch_of_others",),
    ),
    Mutant(
        "each lane fetches its own token",
        "pipeline/auth/token_cache.py",
        was="grant.request or self._start_request(grant, subscription)",
        becomes="self._start_request(grant, subscription)",
        tests=(f"{TOKENS}test_a_thousand_lanes_wait_for_one_fetch",),
    ),
    Mutant(
        "a failed fetch stays registered",
        "pipeline/auth/token_cache.py",
        was="        finally:\n            grant.request = None",
        becomes="        finally:\n            pass\n        grant.request = None",
        tests=(f"{TOKENS}test_after_a_faulty_fetch_the_next_caller_starts_another",),
    ),
    Mutant(
        "a close does not wait for rows",
        "pipeline/auth/token_cache.py",
        was="        if not self._saves:\n            return",
        becomes="        return",
        tests=(f"{TOKENS}test_closing_waits_for_a_row_that_is_being_written",),
    ),
    # ----------------------------------------------------------- http/connection.py
    Mutant(
        "a parser continues with bytes after an earlier answer",
        "pipeline/http/connection.py",
        was="            self._parser = None  # each",
        becomes="            pass  # each",
        tests=(f"{TRANSPORT}test_bytes_after_an_answer_are_not_part_of_the_next_answer",),
    ),
    Mutant(
        "an answer that comes before the request counts",
        "pipeline/http/connection.py",
        was="        if self.is_idle or self._request is not None:\n",
        becomes="        if self.is_idle:\n",
        tests=(f"{BURST}test_an_answer_before_its_request_is_written_does_not_count",),
    ),
    Mutant(
        "nothing is checked before a request is written",
        "pipeline/http/connection.py",
        was="                self._check()\n",
        becomes="                pass\n",
        tests=(f"{TRANSPORT}test_an_event_without_a_valid_lease_is_not_sent",),
    ),
    Mutant(
        "bytes after a plain success do not end the connection",
        "pipeline/http/connection.py",
        was="                self.force_close()\n                return\n            if self._status_suffices",
        becomes="                return\n            if self._status_suffices",
        tests=(f"{TRANSPORT}test_bytes_after_a_plain_success_end_the_connection",),
    ),
    Mutant(
        "a request that can't be written ends its burst",
        "pipeline/http/connection.py",
        was="            if not self.is_written:\n                self.refusal = error\n",
        becomes="            if self.is_written:\n                raise\n            self.refusal = error\n",
        tests=(f"{BURST}test_an_unwritable_request_does_not_affect_the_others",),
    ),
    Mutant(
        "a request that waited past its deadline counts as written",
        "pipeline/http/connection.py",
        was="        self._request = None  # if it is not written yet, it never will be\n",
        becomes="",
        tests=(f"{BURST}test_a_request_that_waits_past_its_deadline_is_not_written",),
    ),
    # ----------------------------------------------------------- http/connector.py
    Mutant(
        "a closed transport still connects",
        "pipeline/http/connector.py",
        was="        if self.closed:\n            raise ClientConnectionError\n        async with",
        becomes="        async with",
        tests=(f"{TRANSPORT}test_a_closed_transport_makes_no_connection",),
    ),
    # ----------------------------------------------------------- http/plain_success.py
    Mutant(
        "a proxy that ends the connection is not heard",
        "pipeline/http/plain_success.py",
        was="|(?:proxy-)?connection(?!",
        becomes="|connection(?!",
        tests=(f"{PLAIN}test_an_answer_with_anything_unusual_goes_to_the_parser",),
    ),
    Mutant(
        "a plain success may have more than one answer",
        "pipeline/http/plain_success.py",
        was="int(found[2]) != len(data) - found.end()",
        becomes="int(found[2]) > len(data) - found.end()",
        tests=(f"{PLAIN}test_an_answer_with_anything_unusual_goes_to_the_parser",),
    ),
    Mutant(
        "chunks are a plain success",
        "pipeline/http/plain_success.py",
        was="content-length|transfer-encoding|",
        becomes="content-length|",
        tests=(f"{PLAIN}test_an_answer_with_anything_unusual_goes_to_the_parser",),
    ),
    # ----------------------------------------------------------- http/burst.py
    Mutant(
        "a burst writes in the turn in which it was asked to",
        "pipeline/http/burst.py",
        was="            self._loop.call_soon(self._write)\n        self._waiting.append(wire)\n",
        becomes="            pass\n        self._waiting.append(wire)\n        self._write()\n",
        tests=(f"{BURST}test_requests_of_one_turn_are_written_together_in_the_next",),
    ),
    # ----------------------------------------------------------- http/transport.py
    Mutant(
        "requests are not grouped into bursts",
        "pipeline/http/transport.py",
        was="                self._burst.add(wire)\n",
        becomes="                wire.write()\n",
        tests=(f"{BURST}test_requests_of_one_turn_are_written_together_in_the_next",),
    ),
    Mutant(
        "an at-most-once request waits for the burst",
        "pipeline/http/transport.py",
        was="if wire.is_reused and may_reuse is _any:",
        becomes="if wire.is_reused:",
        tests=(f"{BURST}test_at_most_once_writes_right_after_its_check",),
    ),
    Mutant(
        "a request that was never written counts as arrived",
        "pipeline/http/transport.py",
        was="may_have_arrived=answer.may_have_arrived or first.may_have_arrived",
        becomes="may_have_arrived=True",
        tests=(f"{BURST}test_a_request_that_was_never_written_has_not_arrived",),
    ),
    Mutant(
        "only the first of two requests may have arrived",
        "pipeline/http/transport.py",
        was="answer.may_have_arrived or first.may_have_arrived",
        becomes="first.may_have_arrived",
        tests=(f"{BURST}test_a_request_written_by_the_second_try_may_have_arrived",),
    ),
    Mutant(
        "the headers of a handshake's answer are not read",
        "pipeline/http/transport.py",
        was="status_suffices=keep_of_success is None",
        becomes="status_suffices=not keep_of_success",
        tests=(f"{TRANSPORT}test_a_success_is_read_whole_if_more_than_its_status_counts",),
    ),
    Mutant(
        "once a status sufficed, it always does",
        "pipeline/http/connection.py",
        was="        self._status_suffices = status_suffices\n",
        becomes="        self._status_suffices |= status_suffices\n",
        tests=(f"{TRANSPORT}test_a_success_is_read_whole_if_more_than_its_status_counts",),
    ),
    Mutant(
        "the lease is checked before the wait for the burst",
        "pipeline/http/transport.py",
        was="                self._burst.add(wire)\n",
        becomes="                wire._check = check and check()\n                self._burst.add(wire)\n",
        tests=(f"{BURST}test_no_request_begins_if_the_lease_ends_during_its_wait",),
    ),
    Mutant(
        "a request that was not written is not sent on a new connection",
        "pipeline/http/transport.py",
        was="return _ClosedIdle(not_connected(destination, error))",
        becomes="return not_connected(destination, error)",
        tests=(f"{BURST}test_a_request_on_a_connection_closed_here_is_not_written",),
    ),
    Mutant(
        "a connection without a request is not given back",
        "pipeline/http/transport.py",
        was="            self._give_back(wire, destination.dial.idle_seconds if is_clean else None)\n",
        becomes="            if is_clean:\n                self._give_back(wire, destination.dial.idle_seconds)\n",
        tests=(f"{TRANSPORT}test_an_event_without_a_valid_lease_is_not_sent",),
    ),
    Mutant(
        "a failed connection counts indefinitely",
        "pipeline/http/transport.py",
        was="            self._free.release()\n            raise",
        becomes="            raise",
        tests=(f"{TRANSPORT}test_a_failed_connection_does_not_count_towards_the_limit",),
    ),
    Mutant(
        "a connection with an unfinished request is used again",
        "pipeline/http/transport.py",
        was="is_clean = is_drained and not transport.get_write_buffer_size()",
        becomes="is_clean = is_drained",
        tests=(f"{TRANSPORT}test_an_early_answer_counts_and_ends_the_connection",),
    ),
    Mutant(
        "a TLS connection with an unfinished request is used again",
        "pipeline/http/transport.py",
        was=" and _has_arrived(wire, transport)",
        becomes="",
        tests=(f"{TRANSPORT}test_an_early_answer_counts_and_ends_the_connection",),
    ),
    Mutant(
        "a connection's next time limit waits for the timer of a longer one",
        "pipeline/http/connection.py",
        was="if timer is None or timer.when() > deadline:",
        becomes="if timer is None:",
        tests=(f"{TRANSPORT}test_each_request_on_a_connection_has_its_own_time_limit",),
    ),
    Mutant(
        "the time limit of an exchange outlives it",
        "pipeline/http/connection.py",
        was="        if self._loop.time() < self._deadline:",
        becomes="        if False:",
        tests=(f"{TRANSPORT}test_each_request_on_a_connection_has_its_own_time_limit",),
    ),
    Mutant(
        "a connection in use counts as idle",
        "pipeline/http/connection.py",
        was="        self.discard(wire)\n        return wire",
        becomes="        return wire",
        tests=(f"{TRANSPORT}test_a_connection_is_used_for_the_next_request",),
    ),
    Mutant(
        "a request that must not be repeated is sent once more",
        "pipeline/http/transport.py",
        was="if isinstance(answer, _ClosedIdle) and repeatable:",
        becomes="if isinstance(answer, _ClosedIdle):",
        tests=(f"{TRANSPORT}test_at_most_once_repeats_no_request_on_a_closed_connection",),
    ),
    Mutant(
        "a request that could not be repeated counts as never sent",
        "pipeline/http/transport.py",
        was="answer = replace(answer, may_have_arrived=answer.may_have_arrived or first.may_have_arrived)",
        becomes="pass",
        tests=(f"{TRANSPORT}test_a_repeated_request_that_fails_may_have_arrived",),
    ),
    Mutant(
        "a repeated request uses another idle connection",
        "pipeline/http/transport.py",
        was="may_reuse=_none)",
        becomes="may_reuse=may_reuse)",
        tests=(f"{TRANSPORT}test_a_repeated_request_uses_a_new_connection",),
    ),
)
