"""Faults that let a producer, a receiver or a writer of dead letters do more than they may, and faults of redrives."""

from typing import Final

from tests.mutants.mutant import Mutant

CREDENTIALS: Final = "tests/unit/http/test_request.py::test_a_record_replaces_no_credential_of_a_subscription"
HANDSHAKE: Final = "tests/unit/http/test_handshake.py::"
REDRIVE: Final = "tests/unit/kafka/test_redrive.py::"
REDRIVES: Final = "tests/unit/kafka/test_redrive_runs.py::"

STRANGERS: Final = (
    Mutant(
        "a letter with a copied webhook-id counts as a duplicate",
        "pipeline/kafka/redrive.py",
        was="(facts.source, facts.subscription, letter.key, value, headers_back(letter))",
        becomes="(facts.webhook_id, facts.subscription)",
        tests=(f"{REDRIVE}test_a_letter_with_a_copied_webhook_id_hides_no_other",),
    ),
    Mutant(
        "letters beyond the limit count as redriven",
        "pipeline/kafka/redrive.py",
        was="return batch[:index], results",
        becomes="return batch, results",
        tests=(f"{REDRIVES}test_a_limit_leaves_the_other_letters_for_later_runs",),
    ),
    Mutant(
        "the last letter of a batch is redriven again",
        "pipeline/kafka/redrive.py",
        was="chosen[-1].offset + 1",
        becomes="chosen[-1].offset",
        tests=(f"{REDRIVES}test_letters_are_committed_after_they_are_written",),
    ),
    Mutant(
        "letters are written to the first source topic",
        "pipeline/kafka/redrive.py",
        was="[result.letter.source or self.source.topic for _, result in letters]",
        becomes="[self.source.topic for _, result in letters]",
        tests=(f"{REDRIVES}test_letters_are_committed_after_they_are_written",),
    ),
    Mutant(
        "a run repeats what a run of another scope has redriven",
        "pipeline/kafka/redrive.py",
        was="is_in(facts, self.scope) or await self._is_done(facts)",
        becomes="is_in(facts, self.scope)",
        tests=(f"{REDRIVES}test_what_another_scope_has_redriven_is_not_repeated",),
    ),
    Mutant(
        "unreadable offsets of a group count as 0",
        "pipeline/kafka/redrive.py",
        was="if len(offsets) < len(self._partitions):",
        becomes="if False:",
        tests=(f"{REDRIVES}test_without_the_offsets_of_a_group_nothing_is_written",),
    ),
    Mutant(
        "a redrive shows a webhook-id that no request has",
        "pipeline/kafka/redrive.py",
        was="self.ids.first_of(letter) or place",
        becomes="result.letter.webhook_id",
        tests=(f"{REDRIVES}test_a_result_has_the_id_with_which_the_event_is_sent",),
    ),
    Mutant(
        "bytes may move between the parts of a seal",
        "pipeline/core/webhook_ids.py",
        was='len(part).to_bytes(8, "big") + part',
        becomes="part",
        tests=("tests/unit/core/test_webhook_ids.py::test_a_seal_prevents_moving_bytes_between_id_and_key",),
    ),
    Mutant(
        "an address is sealed with the oldest key",
        "pipeline/core/webhook_ids.py",
        was="(SEAL, _seal(self.keys[0], event, first, to))",
        becomes="(SEAL, _seal(self.keys[-1], event, first, to))",
        tests=("tests/unit/core/test_addressed.py::test_an_address_is_valid_while_its_key_is_configured",),
    ),
    Mutant(
        "an event with an empty address reaches everybody",
        "pipeline/core/webhook_ids.py",
        was='return value or b""',
        becomes="return value",
        tests=("tests/unit/core/test_addressed.py::test_an_address_without_a_valid_seal_is_for_no_subscription",),
    ),
    Mutant(
        "a record replaces a credential of the subscription",
        "pipeline/http/request.py",
        was=" or known.folded in self.credentials",
        becomes="",
        tests=(CREDENTIALS,),
    ),
    Mutant(
        "a record adds a twin of a credential of the subscription",
        "pipeline/http/request.py",
        was="known.folded in self.credentials",
        becomes="known.key in self.credentials",
        tests=(CREDENTIALS,),
    ),
    Mutant(
        "a compressed answer is kept, with secrets that are not masked",
        "pipeline/http/response_redaction.py",
        was='        return b""\n    named',
        becomes="        return excerpt\n    named",
        tests=("tests/unit/http/test_transport.py::test_a_compressed_body_is_neither_decompressed_nor_kept",),
    ),
    Mutant(
        "secrets in UTF-16 are not masked",
        "pipeline/http/response_redaction.py",
        was="if charset in _CHARSETS:",
        becomes="if False:",
        tests=("tests/unit/http/test_response_redaction.py::test_a_secret_is_masked_in_a_page_of_another_charset",),
    ),
    Mutant(
        "a permission holds after the TLS options were changed",
        "pipeline/http/handshake.py",
        was="        subscription.tls,\n",
        becomes="",
        tests=(f"{HANDSHAKE}test_only_an_edit_that_changes_the_handshake_repeats_it",),
    ),
    Mutant(
        "a permission holds behind another proxy",
        "pipeline/http/handshake.py",
        was="        subscription.proxy,\n",
        becomes="",
        tests=(f"{HANDSHAKE}test_an_edit_of_the_proxy_repeats_the_handshake",),
    ),
    Mutant(
        "a refusal lasts while the clock is set back",
        "pipeline/http/handshake.py",
        was="if 0.0 <= self._clock",
        becomes="if -1e9 <= self._clock",
        tests=(f"{HANDSHAKE}test_a_refusal_does_not_apply_after_the_clock_was_set_back",),
    ),
    Mutant(
        "the allowed rate of the first handshake stays",
        "pipeline/http/handshake.py",
        was="        self._allow(subscription.id, verdict.per_second)\n",
        becomes="        if subscription.id not in self._permitted:\n"
        "            self._allow(subscription.id, verdict.per_second)\n",
        tests=(f"{HANDSHAKE}test_after_an_edit_the_newly_allowed_rate_applies",),
    ),
    Mutant(
        "an older token in a row replaces a newer one",
        "pipeline/auth/grant.py",
        was=" and stored.obtained_at > self.token.obtained_at",
        becomes="",
        tests=("tests/unit/auth/test_token_cache.py::test_only_a_newer_valid_other_token_is_taken_from_a_row",),
    ),
    Mutant(
        "a signing secret that is no base64 is decoded to another key",
        "pipeline/http/signature.py",
        was="validate=True",
        becomes="validate=False",
        tests=("tests/unit/http/test_signature.py::test_an_unusable_secret_is_named_by_its_path_and_not_shown",),
    ),
)
