"""Faults in the treatment of events that are addressed to one subscription."""

from typing import Final

from tests.mutants.mutant import Mutant

FILE: Final = "pipeline/core/addressed.py"
TESTS: Final = "tests/unit/core/test_addressed.py::"

ADDRESSED: Final = (
    Mutant(
        "an address counts without a valid seal",
        FILE,
        was="if self._ids.is_for(event, addressee) and not self._is_too_new",
        becomes="if not self._is_too_new",
        tests=(f"{TESTS}test_an_address_without_a_valid_seal_is_for_no_subscription",),
    ),
    Mutant(
        "an address counts for a recreated subscription",
        FILE,
        was=" and not self._is_too_new(addressee, event)",
        becomes="",
        tests=(f"{TESTS}test_a_recreated_subscription_gets_no_event_addressed_before",),
    ),
    Mutant(
        "a seal does not cover the address",
        "pipeline/core/webhook_ids.py",
        was="parts += [] if addressee is None else [addressee]",
        becomes="parts += []",
        tests=(f"{TESTS}test_a_seal_is_valid_for_one_address_only",),
    ),
    Mutant(
        "a filter rejects an addressed event",
        "pipeline/core/runner.py",
        was=" or self._delivery.is_addressed(flight.event)",
        becomes="",
        tests=(f"{TESTS}test_a_filter_does_not_reject_an_addressed_event",),
    ),
    Mutant(
        "the row of an unknown subscription is forgotten",
        "pipeline/core/opening.py",
        was="is_outdated = row.revision >= 0",
        becomes="is_outdated = True",
        tests=(f"{TESTS}test_a_restart_keeps_events_of_subscriptions_not_yet_read",),
    ),
    Mutant(
        "events that a new subscription reads again are counted as given up",
        "pipeline/core/reconcile.py",
        was="given_up = lane.abandon() - read_again",
        becomes="given_up = lane.abandon()",
        tests=(f"{TESTS}test_a_subscription_gets_events_that_waited_for_its_record",),
    ),
    Mutant(
        "with match, a redrive reaches every matching subscription",
        "pipeline/kafka/redrive.py",
        was="*ids.address(letter, addressee)",
        becomes="*[each for each in ids.address(letter, addressee) if each[0] == FIRST_ID]",
        tests=("tests/unit/kafka/test_redrive.py::test_with_match_a_redrive_goes_to_one_subscription",),
    ),
)
