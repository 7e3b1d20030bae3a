"""A bundle of a small campaign: reproducible, whole, checkable by openssl, and without a byte that nobody checks."""

from __future__ import annotations

import io
import subprocess

import pytest

from orchestrator import disk
from orchestrator.record import store
from orchestrator.record.bundle import export
from protocol.attestation.bundle import (
    CHECKPOINT_PATH,
    KEYRING_PATH,
    POLICY_PATH,
    BundleFiles,
    read_bundle,
    read_tar,
    write_tar,
)
from protocol.attestation.digest import sha256_hex
from protocol.attestation.keyring import open_keyring
from protocol.attestation.predicates import CampaignResult, read_predicate
from protocol.attestation.root import root_fingerprint, verify_chain
from protocol.attestation.sigstore_bundle import parse_sigstore_bundle
from protocol.attestation.statement import parse_statement
from protocol.errors import JoulesealError, RecordUnsound, StorageFull
from protocol.tlog.entry import check_entry, open_checkpoint
from protocol.tlog.merkle import leaf_hash
from protocol.tlog.policy import parse_policy
from protocol.tlog.tiles import view_log
from tests.unit.record.record_world import campaign, evidence_of, new_domain


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("export") / "home"
    campaign(new_domain(home))
    export(home, 0, 3, evidence_of(home), home / "bundle.tar")
    return home


def check(files: BundleFiles, fingerprint: str) -> int:
    """Check every byte of a bundle as the formats allow, and return the number of statements."""
    root = verify_chain(files.roots(), fingerprint)
    keyring = open_keyring(files[KEYRING_PATH], root)
    if sha256_hex(files[POLICY_PATH]) != keyring.policy_sha256:
        raise RecordUnsound(observed="policy", expected="the keyring's", hint="")
    policy = parse_policy(files[POLICY_PATH])
    seen = open_checkpoint(files[CHECKPOINT_PATH], policy)
    entries = view_log(files.tiles(), seen.checkpoint).entries
    (runner,) = keyring.in_role("runner")
    wanted: set[str] = set()
    for item in files.statements():
        bundle = parse_sigstore_bundle(item.data)
        bundle.envelope.verify(runner.key)
        check_entry(bundle.envelope, runner.key, bundle.entry, policy)
        statement = parse_statement(bundle.envelope.payload)
        same = (bundle.entry.log_index, statement.predicate_name) == (item.log_index, item.predicate_name)
        if not same or leaf_hash(entries[item.log_index]) != leaf_hash(bundle.entry.body):
            raise RecordUnsound(observed=item.path, expected="the log's entry", hint="")
        predicate = read_predicate(statement)
        wanted.update(predicate.evidence())
        if isinstance(predicate, CampaignResult) and predicate.byproducts[0].sha256 != sha256_hex(files["VERIFY.txt"]):
            raise RecordUnsound(observed="VERIFY.txt", expected="the result's", hint="")
    for digest in wanted | files.evidence_digests():
        files.evidence(digest)
    if wanted != files.evidence_digests():
        raise RecordUnsound(observed="evidence", expected="what statements refer to", hint="")
    return len(files.statements())


def test_a_bundle_is_whole_and_reproducible(home):
    files = read_bundle(home / "bundle.tar")
    fingerprint = root_fingerprint((home / "trust/root.json").read_bytes())
    assert check(files, fingerprint) == 4
    made = export(home, 0, 3, evidence_of(home), home / "again.tar")
    assert (home / "again.tar").read_bytes() == (home / "bundle.tar").read_bytes()
    assert (made.size, made.files) == ((home / "bundle.tar").stat().st_size, len(files.files))


def test_no_byte_of_any_file_can_be_flipped_not_even_a_key_hint(home):
    files = dict(read_bundle(home / "bundle.tar").files)
    fingerprint = root_fingerprint((home / "trust/root.json").read_bytes())
    flips = 0
    for path, data in files.items():
        for position in range(0, len(data), 11):
            changed = bytearray(data)
            changed[position] ^= 1 << position % 8
            with pytest.raises((JoulesealError, KeyError)):
                check(BundleFiles({**files, path: bytes(changed)}), fingerprint)
            flips += 1
    assert flips > 1000


def test_no_file_can_be_left_out(home):
    files = dict(read_bundle(home / "bundle.tar").files)
    fingerprint = root_fingerprint((home / "trust/root.json").read_bytes())
    for path in files:
        kept = {name: data for name, data in files.items() if name != path}
        if path.startswith("statements/"):
            assert len(BundleFiles(kept).statements()) == 3
        else:
            with pytest.raises((JoulesealError, KeyError)):
                check(BundleFiles(kept), fingerprint)


def test_openssl_alone_checks_one_signature_as_verify_txt_says(home, tmp_path):
    files = read_bundle(home / "bundle.tar").files
    steps = [line.strip() for line in files["VERIFY.txt"].decode().splitlines() if line.startswith("     ")]
    commands = steps[-5:]
    assert commands[0].startswith("sed ")
    for item in BundleFiles(files).statements():
        (tmp_path / "FILE").write_bytes(item.data)
        done = subprocess.run(
            ["sh", "-e", "-c", "\n".join(commands)], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "Signature Verified Successfully" in done.stdout
        assert "  " not in (tmp_path / "signed").read_bytes()[:60].decode()
    (tmp_path / "payload").write_bytes((tmp_path / "payload").read_bytes().replace(b"acme", b"acne") + b" ")
    wrong = subprocess.run(["sh", "-e", "-c", "\n".join(commands[2:])], cwd=tmp_path, capture_output=True, check=False)
    assert wrong.returncode != 0


def test_verify_txt_shows_the_fingerprint_of_the_root(home, tmp_path):
    subprocess.run(["tar", "-xf", home / "bundle.tar"], cwd=tmp_path, check=True)
    done = subprocess.run(
        ["openssl", "dgst", "-sha256", "trust/root/1.root.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == root_fingerprint((home / "trust/root.json").read_bytes())


def test_a_range_that_is_not_in_the_log_or_evidence_that_is_lost(home):
    for first, last in ((0, 4), (3, 2), (-1, 2)):
        with pytest.raises(RecordUnsound) as caught:
            export(home, first, last, evidence_of(home), home / "none.tar")
        assert caught.value.code == "NOT_IN_LOG"
    with pytest.raises(RecordUnsound) as caught:
        export(home, 0, 3, store.EvidenceStore(home / "nowhere"), home / "none.tar")
    assert caught.value.code == "EVIDENCE_LOST"
    assert not (home / "none.tar").exists()


def test_a_full_disk_leaves_no_half_of_a_bundle(home, monkeypatch):
    def full(*_args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(disk.os, "fsync", full)
        with pytest.raises(StorageFull):
            export(home, 0, 3, evidence_of(home), home / "full.tar")
    assert not list(home.glob("full.tar*"))


def test_the_tar_is_that_of_its_files(home):
    data = (home / "bundle.tar").read_bytes()
    assert b"".join(write_tar(read_tar(io.BytesIO(data), len(data)))) == data
