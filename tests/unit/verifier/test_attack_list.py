"""The attacks that the design names, each with the test that is named after it: none may lose its test unnoticed."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ATTACKS = {
    "payload edited": "test_payload_edited",
    "edited and re-signed by the real runner key, not in the log": (
        "test_edited_and_signed_again_by_the_real_key_but_not_logged"
    ),
    "statement dropped with its log entry": "test_statement_dropped_with_its_log_entry",
    "statement dropped without its log entry": "test_statement_dropped_without_its_log_entry",
    "statements reordered": "test_statements_reordered",
    "evidence replaced": "test_evidence_replaced",
    "evidence truncated": "test_evidence_truncated",
    "evidence removed": "test_evidence_removed",
    "another image": "test_another_image",
    "a whole forged world under its own root": "test_a_whole_forged_world_under_its_own_root",
    "keyring 1 of 3": "test_keyring_signed_by_one_of_two",
    "one key counted twice": "test_one_key_counted_twice_in_the_keyring",
    "one key counted twice under two key ids": "test_one_key_counted_twice_under_two_key_ids",
    "cosignature stripped": "test_cosignature_stripped_from_the_final_checkpoint",
    "cosignature duplicated": "test_cosignature_duplicated_to_make_a_quorum",
    "log signature stripped": "test_log_signature_stripped",
    "log rolled back": "test_log_rolled_back",
    "log forked at the same size": "test_log_forked_at_the_same_size",
    "log forked at a larger size": "test_log_forked_at_a_larger_size",
    "keyring rolled back": "test_keyring_rolled_back",
    "best of N": "test_best_of_n_with_an_intent_left_open",
    "rerun of a completed session": "test_rerun_of_a_completed_session",
    "too many attempts": "test_too_many_attempts",
    "unplanned cell": "test_unplanned_cell",
    "missing cell": "test_missing_cell",
    "empty campaign": "test_empty_campaign",
    "result leaves out an outcome": "test_result_omits_an_outcome",
    "mean of a subset": "test_mean_of_a_subset",
    "old evidence under a new intent": "test_old_evidence_under_a_new_intent",
    "old nonce under a new intent": "test_old_nonce_under_a_new_intent",
    "energy differs from its samples": "test_energy_differs_from_its_samples",
    "samples dropped": "test_a_stretch_of_samples_dropped",
    "samples thinned": "test_every_second_sample_dropped",
    "samples shifted by an hour": "test_samples_shifted_by_an_hour",
    "samples scaled": "test_samples_scaled_and_chained_anew_without_the_figures",
    "only the lowest samples kept": "test_only_the_three_lowest_samples_kept",
    "session before its intent was witnessed": "test_session_before_its_intent_was_witnessed",
    "session longer than its window": "test_session_longer_than_its_own_times",
    "sessions overlapping on one device": "test_sessions_that_overlap_on_one_device",
    "device outside scope": "test_a_device_outside_the_keys_scope",
    "key outside scope": "test_a_key_outside_its_scope",
    "key outside role": "test_a_statement_signed_by_the_logs_key",
    "key outside window": "test_a_key_outside_its_window",
    "key revoked": "test_a_key_that_was_revoked_before_it_signed",
    "key unknown": "test_logged_under_a_key_that_nobody_enrolled",
    "sequence gap": "test_sequence_gap",
    "predicate type confusion": "test_predicate_type_confusion",
    "duplicate JSON key": "test_duplicate_json_key",
    "algorithm swap": "test_algorithm_swap",
    "small-order Ed25519 key": "test_small_order_key_in_the_keyring",
    "non-canonical payload": "test_payload_that_is_not_canonical",
    "malformed notes": "test_malformed_sizes_in_the_checkpoint",
    "leaf-index aliasing": "test_leaf_index_aliasing",
    "hidden second plan": "test_hidden_second_plan",
    "huge bundle": "test_a_claim_of_a_gigabyte_in_a_kilobyte",
    "tar traversal": "test_tar_that_climbs_out",
    "symlink": "test_symlink_in_a_tar",
    "deep JSON": "test_deep_json",
    "million-line note": "test_a_note_of_a_million_lines",
    "unexplained energy between runs": "test_unexplained_energy_between_runs",
    "a verdict by an unlisted verifier": "test_a_verdict_by_an_unlisted_verifier",
    "every byte flipped": "test_every_byte_of_every_file",
    # Of vendors and auditors.
    "another submission than was signed": "test_another_submission_than_the_vendor_signed",
    "a submission by another vendor": "test_a_submission_signed_by_another_vendor",
    "a vendor's submission left out": "test_a_vendors_submission_left_out",
    "an old submission": "test_an_old_submission_measured_again",
    "a finding about another image": "test_a_finding_about_another_image",
    "a finding about another campaign": "test_a_finding_about_another_campaign",
    "a finding replayed": "test_a_finding_replayed_under_a_new_challenge",
    "too few points": "test_a_challenge_that_draws_too_few",
    "chosen points": "test_points_that_were_chosen",
    "a chosen seed": "test_a_secret_that_was_chosen_after_the_challenge",
    "a finding that displeased left out": "test_a_finding_that_displeased_left_out",
    "a vendor who audits itself": "test_an_auditor_of_the_vendors_own_house",
    # What MLPerf's checkers accept.
    "all watts lowered": "test_all_watts_lowered",
    "every second sample deleted": "test_every_second_sample_deleted",
    "timestamps an hour later": "test_all_samples_an_hour_later_and_none_in_the_window",
    "an uncertainty passed over": "test_an_uncertainty_of_the_instrument_passed_over",
    "an error line accepted": "test_an_error_of_the_instrument_inside_the_run",
    "an extra file": "test_a_file_beside_the_hashed_ones",
    "an INVALID run accepted": "test_a_result_that_its_own_rules_call_invalid",
    "errors of the load generator accepted": "test_errors_of_the_run_left_unsaid",
    "a tenfold result": "test_a_tenfold_result",
    "a short run": "test_a_run_that_was_shorter_than_it_says",
    "a hash that nobody compares": "test_a_log_that_is_garbage_under_a_hash_that_is_there",
    "a cache": "test_answers_that_were_kept_from_the_first_pass",
}


@cache
def named():
    """Return every test of the attack files, with its source."""
    found = {}
    for path in HERE.glob("test_attack_*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                assert node.name not in found, f"{node.name} twice"
                found[node.name] = ast.unparse(node)
    return found


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_attack_has_a_test_that_can_fail(attack):
    source = named().get(ATTACKS[attack])
    assert source is not None, f"no test named {ATTACKS[attack]}"
    assert "assert" in source or "raises" in source
