"""Every public parser of bytes or text is soaked, or stands here with the reason why not."""

from __future__ import annotations

from orchestrator.datasets.canonical import read_dataset
from tests.soak import points
from tests.soak.parsers import parsers, reached
from tests.soak.target import Target
from tests.soak.targets import TARGETS

# Each with what makes it safe without: who else could give it bytes?
EXEMPT = {
    "orchestrator/commands/witness.py:read_log_argument": "names a file; its content goes to read_log, which is soaked",
    "orchestrator/launch/cgroups.py:Membership.parse": "the kernel's own words on a process",
    "orchestrator/meter/client.py:Sampler.open_window": "a window's name, which is ours",
    "orchestrator/meter/interface.py:Meter.open_window": "as above",
    "orchestrator/meter/replay.py:Replay.open_window": "as above",
    "orchestrator/record/keys.py:read_passphrase": "the operator's own line, of which the newline is taken off",
    "orchestrator/record/log_copy.py:LogCopy.read_note": "open_checkpoint, which is soaked, beside a file's name",
    "orchestrator/record/vault.py:Vault.open_leaves": "a session's name, looked up in the operator's own vault",
    "protocol/attestation/openings.py:open_leaves": "the operator's secret, which is hashed and not read",
    "verifier/opening_files.py:read_draw": "the auditor's own argument, one regular expression",
}


def test_every_parser_is_soaked_or_exempt_by_name():
    missing = parsers() - reached(TARGETS) - set(EXEMPT)
    assert not missing, f"a target of tests/soak is due for {sorted(missing)}, or a reason in EXEMPT"


def test_no_exemption_has_outlived_its_reason():
    assert set(EXEMPT) <= parsers()
    assert not set(EXEMPT) & reached(TARGETS)


def test_a_parser_is_found_by_its_name_and_its_first_argument():
    found = parsers()
    assert "protocol/attestation/possession.py:read_possession" in found
    assert "protocol/attestation/root.py:read_root_draft" in found
    assert "protocol/attestation/keyring.py:read_keyring_draft" in found
    assert "protocol/attestation/statement.py:predicate_type" not in found
    assert "protocol/attestation/envelope.py:read_envelope" not in found, "it reads what was parsed already"


def test_only_what_reads_is_reached():
    assert reached([]) == set()
    assert reached([Target(name="idle", read=lambda _: None, seeds=lambda: [b""])]) == {
        "tests/soak/target.py:Target.run",
        "tests/unit/soak/test_every_parser.py:test_only_what_reads_is_reached.<locals>.<lambda>",
    }


def test_the_folder_in_memory_is_a_dataset_and_its_lines_are_mended():
    """Otherwise every execution would stop at the first digest."""
    found = read_dataset(points.NAME, points.Memory(points.honest()))
    assert len(found.points) == 2
    (line, *_) = points.lines()
    assert points.mended(line) == points.mended(line.replace(b"text", b"text", 1))
    assert points.mended(line.replace(b"a text", b"another text")) != line
    points.read_point(points.mended(line.replace(b"a text", b"another text")).decode(), 0, points.no_blob)
