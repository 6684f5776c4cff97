"""The faults, by module: what Kafka, Faust and aiohttp do for the pipeline, and what it does for them, done wrong.

Those of lanes and partitions are in tests/simulation/mutants.py.
"""

from typing import Final

from tests.mutants.mutant import Mutant

APP: Final = "tests/unit/test_app.py::"
BACKLOG: Final = "tests/broker/test_backlog.py::"
CURSORS: Final = "tests/broker/test_cursors.py::"
DEAD_LETTER: Final = "tests/broker/test_dead_letter.py::"
EXPANSION: Final = "tests/broker/test_growth.py::"
CONSUMER: Final = "tests/unit/runtime/test_consumer.py::"
MEMBERSHIP: Final = "tests/unit/runtime/test_membership.py::"
SUBSCRIPTIONS: Final = "tests/broker/test_subscriptions.py::"
TOKENS: Final = "tests/unit/auth/test_token_cache.py::"
TRANSPORT: Final = "tests/unit/http/test_transport.py::"

MUTANTS: Final = (
    # ----------------------------------------------------------- agents/deliver.py, app.py
    Mutant(
        "batches of an earlier generation are handed over",
        "agents/deliver.py",
        was="if message.generation_id == app.consumer_generation_id:",
        becomes="if True:",
        tests=(f"{CONSUMER}test_a_batch_of_an_earlier_generation_is_not_handed_over",),
    ),
    Mutant(
        "the lease is not asked for right before the write",
        "pipeline/app.py",
        was="check=lease.check",
        becomes="check=None",
        tests=(f"{APP}test_nothing_is_written_to_a_receiver_without_the_lease",),
    ),
    Mutant(
        "the lease never ends",
        "pipeline/app.py",
        was="Lease(SESSION_SECONDS - MARGIN_SECONDS)",
        becomes="Lease(NEVER_SECONDS)",
        tests=(f"{APP}test_the_lease_ends_before_the_session_does",),
    ),
    Mutant(
        "tokens of a partition that is closed stay",
        "pipeline/app.py",
        was="on_closed=tokens.release",
        becomes="on_closed=lambda _: None",
        tests=(f"{APP}test_a_partition_that_is_closed_takes_its_tokens_with_it",),
    ),
    Mutant(
        "changelogs grow before the cursors do",
        "pipeline/app.py",
        was="(cursors_topic(settings.app), tokens_topic(settings.app))",
        becomes="(tokens_topic(settings.app), cursors_topic(settings.app))",
        tests=(f"{APP}test_what_a_group_sees_last_grows_last",),
    ),
    Mutant(
        "partitions that come are read from their end",
        "pipeline/app.py",
        was='consumer_auto_offset_reset="earliest"',
        becomes='consumer_auto_offset_reset="latest"',
        tests=(f"{APP}test_a_partition_without_a_committed_offset_is_read_from_its_beginning",),
    ),
    # ----------------------------------------------------------- runtime/consumer.py
    Mutant(
        "what was fetched before a rebalance is handed out after it",
        "pipeline/runtime/consumer.py",
        was="return self.flow_active and generation == self.app.consumer_generation_id",
        becomes="return self.flow_active",
        tests=(f"{CONSUMER}test_what_was_fetched_before_a_rebalance_is_not_handed_out_and_fetched_again",),
    ),
    Mutant(
        "what was fetched before a rebalance is passed over",
        "pipeline/runtime/consumer.py",
        was="            await self._go_back(records)\n            return",
        becomes="            return",
        tests=(f"{CONSUMER}test_what_was_fetched_before_a_rebalance_is_not_handed_out_and_fetched_again",),
    ),
    Mutant(
        "an assignment that Kafka counts as the same one is the same one",
        "pipeline/runtime/consumer.py",
        was="        app.consumer_generation_id += 1\n",
        becomes="",
        tests=(f"{MEMBERSHIP}test_an_assignment_that_the_group_only_confirms_is_a_generation_of_its_own",),
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
        was='f"{self._place.topic}.{self._place.partition}"',
        becomes="self._place.topic",
        tests=(f"{CURSORS}test_partitions_of_one_worker_do_not_fence_each_other",),
    ),
    Mutant(
        "rows of a transaction that was not committed are loaded",
        "pipeline/kafka/cursors.py",
        was='isolation_level="read_committed"',
        becomes='isolation_level="read_uncommitted"',
        tests=(f"{CURSORS}test_what_the_former_owner_had_open_is_aborted_before_rows_are_read",),
    ),
    Mutant(
        "rows are loaded as far as the first fetch goes",
        "pipeline/kafka/cursors.py",
        was="while await consumer.position(place) < end:",
        becomes="if await consumer.position(place) < end:",
        tests=(f"{CURSORS}test_the_next_owner_finds_the_newest_row_of_each_subscription",),
    ),
    Mutant(
        "of the rows that wait the oldest counts",
        "pipeline/kafka/cursors.py",
        was="self._group.rows[key] = None if cursor is None else encode(cursor)",
        becomes="self._group.rows.setdefault(key, None if cursor is None else encode(cursor))",
        tests=(f"{CURSORS}test_of_rows_that_wait_together_the_newest_of_a_subscription_counts",),
    ),
    Mutant(
        "rows are written outside of a transaction",
        "pipeline/kafka/cursors.py",
        was="        async with producer.transaction():\n            await self._send(producer, rows)",
        becomes="        await self._send(producer, rows)",
        tests=(f"{CURSORS}test_a_former_owner_is_refused_and_its_rows_stay_invisible",),
    ),
    Mutant(
        "rows count although their commit has failed",
        "pipeline/kafka/cursors.py",
        was="                await asyncio.sleep(RETRY_PAUSE_SECONDS)\n            else:",
        becomes="            if True:",
        tests=(f"{CURSORS}test_rows_whose_commit_fails_count_when_it_succeeds",),
    ),
    Mutant(
        "rows that wait behind those that are fenced are forgotten",
        "pipeline/kafka/cursors.py",
        was="        group.waiters += self._group.waiters\n",
        becomes="",
        tests=(f"{CURSORS}test_rows_that_wait_behind_those_that_are_fenced_are_refused_too",),
    ),
    Mutant(
        "a producer that is broken for good is tried for ever",
        "pipeline/kafka/cursors.py",
        was="transactions is not None and transactions.state is not TransactionState.READY",
        becomes="transactions is None",
        tests=(f"{CURSORS}test_a_producer_that_can_begin_no_transaction_any_more_is_given_up",),
    ),
    Mutant(
        "a close forgets the rows that wait",
        "pipeline/kafka/cursors.py",
        was="while not (self._closing and not self._group.rows):",
        becomes="while not self._closing:",
        tests=(f"{CURSORS}test_a_close_writes_what_still_waits",),
    ),
    Mutant(
        "a transactional id is not kept alive",
        "pipeline/kafka/cursors.py",
        was="self._group.rows[KEEP_ALIVE_KEY] = None",
        becomes="pass",
        tests=(f"{CURSORS}test_a_transactional_id_is_used_also_while_there_are_no_rows",),
    ),
    # ----------------------------------------------------------- kafka/log_reader.py
    Mutant(
        "a reading passes over an event",
        "pipeline/kafka/log_reader.py",
        was="consumer.seek(place, wanted.place)",
        becomes="consumer.seek(place, wanted.place + 1)",
        tests=(f"{BACKLOG}test_it_can_go_back",),
    ),
    Mutant(
        "partitions are assigned without their place",
        "pipeline/kafka/log_reader.py",
        was="            consumer.seek(each, offset)",
        becomes="            if each == place:\n                consumer.seek(each, offset)",
        tests=(f"{BACKLOG}test_partitions_are_read_in_turn",),
    ),
    Mutant(
        "a partition that rested is not fetched again",
        "pipeline/kafka/log_reader.py",
        was="            consumer.resume(place)\n            return",
        becomes="            return",
        tests=(f"{BACKLOG}test_it_can_go_back",),
    ),
)
