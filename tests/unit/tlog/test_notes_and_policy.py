"""Signed notes, checkpoints, cosignatures and the policy: strict readers of lines."""

from __future__ import annotations

import base64

import pytest

from protocol.errors import VerificationError
from protocol.tlog.checkpoint import Checkpoint, parse_checkpoint
from protocol.tlog.cosignature import WitnessKey
from protocol.tlog.entry import open_checkpoint
from protocol.tlog.leaf import Leaf, parse_leaf
from protocol.tlog.note import LogKey, Note, parse_note, parse_vkey, unknown_lines, verify_note
from protocol.tlog.policy import build_policy, parse_policy
from tests.unit.attestation.key_maker import ed_signer, p256_signer

LOG_SIGNER, WITNESS_SIGNER, OTHER_SIGNER = ed_signer(1), ed_signer(2), ed_signer(3)
LOG = LogKey(name="example.com/log", public_key=LOG_SIGNER.public_key)
WITNESS = WitnessKey(name="example.com/witness", public_key=WITNESS_SIGNER.public_key)
OTHER = WitnessKey(name="example.org/other", public_key=OTHER_SIGNER.public_key)
POLICY = parse_policy(build_policy(log=LOG, witnesses={"w": WITNESS, "o": OTHER}, threshold=1))
BODY = Checkpoint(origin=LOG.name, size=13, root=b"\x07" * 32).to_body()
ROOT64 = base64.b64encode(b"\x07" * 32).decode()


def note_of(*lines, text=BODY) -> bytes:
    return Note(text=text, signatures=lines).to_bytes()


LOG_LINE = LOG.sign(BODY, LOG_SIGNER)
WITNESS_LINE = WITNESS.sign(BODY, 1_700_000_000, WITNESS_SIGNER)
GOOD = note_of(LOG_LINE, WITNESS_LINE)


def test_a_note_is_read_as_it_was_written_and_says_who_signed():
    note = parse_note(GOOD)
    assert note.to_bytes() == GOOD
    assert [(line.name, line.timestamp) for line in verify_note(note, [LOG, WITNESS])] == [
        ("example.com/log", None),
        ("example.com/witness", 1_700_000_000),
    ]


def test_a_golden_note_that_was_signed_elsewhere():
    """The example of the C2SP signed-note specification: Ed25519, by the key PeterNeumann."""
    text = b"If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    line = (
        "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZIn"
        "NIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    )
    name, kind, key = parse_vkey("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    assert (name, kind) == ("PeterNeumann", 1)
    note = parse_note(text + b"\n" + line.encode())
    assert [found.name for found in verify_note(note, [LogKey(name=name, public_key=key)])] == ["PeterNeumann"]


def test_a_known_key_with_a_bad_signature_refuses_the_note():
    wrong = LOG.sign(b"another text\n", LOG_SIGNER)
    for lines in ((wrong,), (LOG_LINE, wrong), (wrong, LOG_LINE)):
        with pytest.raises(VerificationError) as caught:
            verify_note(parse_note(note_of(*lines)), [LOG])
        assert caught.value.code == "BAD_SIGNATURE"


def test_a_line_twice_counts_once_and_unknown_lines_are_told():
    note = parse_note(note_of(WITNESS_LINE, LOG_LINE, WITNESS_LINE))
    assert len(verify_note(note, [LOG, WITNESS])) == 2
    assert unknown_lines(note, [LOG, WITNESS]) == (WITNESS_LINE,)
    assert unknown_lines(note, [LOG]) == (WITNESS_LINE, WITNESS_LINE)


def test_of_two_times_by_one_witness_the_earlier_counts():
    later = WITNESS.sign(BODY, 1_800_000_000, WITNESS_SIGNER)
    for lines in ((WITNESS_LINE, later), (later, WITNESS_LINE)):
        assert verify_note(parse_note(note_of(*lines)), [WITNESS])[0].timestamp == 1_700_000_000


TEXT = BODY.decode()
LINE = LOG_LINE.to_line()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        BODY,
        BODY + b"\n",
        GOOD[:-1],
        GOOD + b"\n",
        GOOD + b"junk\n",
        GOOD.replace(b"\n\n", b"\n"),
        b"\n\n" + LINE.encode(),
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.replace(b"13", b"1\x00"),
        GOOD.replace(b"example", b"ex\x1bmple"),
        GOOD.replace(b"example", b"exam\xffle"),
        GOOD.replace("\u2014".encode(), b"-"),
        (TEXT + "\n" + LINE.replace(" example", "  example")).encode(),
        (TEXT + "\n" + LINE.replace("example", "exam+ple")).encode(),
        (TEXT + "\n" + LINE.replace("example", "exam\u00a0ple")).encode(),
        (TEXT + "\n" + "\u2014 name eA==\n").encode(),
        note_of(*[LOG_LINE] * 101),
        b"x" * (1 << 20) + GOOD,
        BODY + b"\n" + b"\n" * 1_000_000,
    ],
)
def test_malformed_notes_are_refused_before_any_key_is_asked(data):
    with pytest.raises(VerificationError) as caught:
        parse_note(data)
    assert caught.value.code == "MALFORMED_NOTE"


def test_signature_lines_have_one_spelling():
    spare = LINE.rstrip("\n")
    spare = spare[:-2] + chr(ord(spare[-2]) + 1) + "=\n"
    for line in (spare, LINE.replace("=\n", "\n"), LINE.replace("/", "_").replace("+", "-")):
        if line != LINE:
            with pytest.raises(VerificationError) as caught:
                parse_note((TEXT + "\n" + line).encode())
            assert caught.value.code in {"BAD_BASE64", "MALFORMED_NOTE"}


@pytest.mark.parametrize(
    "size",
    ["+13", "1_3", "013", "-13", " 13", "13 ", "1\u0663", "\uff11\uff13", "", "0x13", "1e3", "9" * 40, str(2**63)],
)
def test_sizes_have_one_spelling(size):
    with pytest.raises(VerificationError) as caught:
        parse_checkpoint(f"{LOG.name}\n{size}\n{ROOT64}\n".encode())
    assert caught.value.code == "MALFORMED_CHECKPOINT"


@pytest.mark.parametrize(
    "body",
    [
        f"{LOG.name}\n13\n{ROOT64}\nextension\n",
        f"{LOG.name}\n13\n{ROOT64}",
        f"{LOG.name}\n13\n",
        f"\n13\n{ROOT64}\n",
        f"a log\n13\n{ROOT64}\n",
        f"{LOG.name}\n13\n{ROOT64[:-4]}\n",
        f"{LOG.name}\n13\n{ROOT64.replace('=', '')}\n",
    ],
)
def test_a_checkpoint_is_three_lines(body):
    with pytest.raises(VerificationError) as caught:
        parse_checkpoint(body.encode())
    assert caught.value.code in {"MALFORMED_CHECKPOINT", "BAD_BASE64"}


def test_a_bundled_checkpoint_carries_the_lines_of_known_keys_only():
    assert open_checkpoint(GOOD, POLICY).has_quorum(POLICY)
    assert open_checkpoint(GOOD, POLICY).earliest() == 1_700_000_000
    alone = open_checkpoint(note_of(LOG_LINE), POLICY)
    assert not alone.has_quorum(POLICY)
    assert alone.earliest() is None
    stranger = LogKey(name="stranger", public_key=ed_signer(9).public_key).sign(BODY, ed_signer(9))
    other_log = LogKey(name="example.com/else", public_key=LOG_SIGNER.public_key)
    else_body = Checkpoint(origin="example.com/else", size=1, root=bytes(32)).to_body()
    for data, code in (
        (note_of(LOG_LINE, stranger), "UNKNOWN_SIGNER"),
        (note_of(LOG_LINE, WITNESS_LINE, WITNESS_LINE), "UNKNOWN_SIGNER"),
        (note_of(WITNESS_LINE), "NOT_SIGNED_BY_LOG"),
        (note_of(LOG.sign(else_body, LOG_SIGNER), text=else_body), "WRONG_ORIGIN"),
        (note_of(other_log.sign(BODY, LOG_SIGNER)), "UNKNOWN_SIGNER"),
    ):
        with pytest.raises(VerificationError) as caught:
            open_checkpoint(data, POLICY)
        assert caught.value.code == code


def test_every_flipped_byte_of_a_checkpoint_is_noticed():
    for position in range(len(GOOD)):
        for bit in (1, 32):
            changed = bytearray(GOOD)
            changed[position] ^= bit
            with pytest.raises(VerificationError):
                open_checkpoint(bytes(changed), POLICY)


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "name",
        "name+c74f20a3",
        f"{LOG.to_vkey()}x",
        LOG.to_vkey().replace("example", "Example"),
        LOG.to_vkey().upper(),
    ],
)
def test_a_verifier_key_whose_parts_do_not_agree_is_refused(vkey):
    with pytest.raises(VerificationError):
        parse_vkey(vkey)


def test_a_weak_key_is_refused_in_a_policy():
    weak = b"\x01" + b"\x01" + bytes(31)
    with pytest.raises(VerificationError) as caught:
        parse_vkey(f"name+00000000+{base64.b64encode(weak).decode()}")
    assert caught.value.code == "WEAK_KEY"


def test_a_quorum_of_groups():
    third = WitnessKey(name="third", public_key=ed_signer(4).public_key)
    lines = [
        "# who must have seen a checkpoint",
        f"log {LOG.to_vkey()} https://log.example",
        f"witness w {WITNESS.to_vkey()} https://w.example",
        f"witness o {OTHER.to_vkey()}",
        f"witness t {third.to_vkey()}",
        "group outside any o t",
        "group all-of-us all w outside",
        "",
        "quorum all-of-us",
    ]
    policy = parse_policy("\n".join(lines).encode())
    ids = {"w": WITNESS.key_id, "o": OTHER.key_id, "t": third.key_id}
    verdicts = {
        names: policy.satisfied_by({ids[name] for name in names}) for names in ("", "w", "ot", "wo", "wt", "wot")
    }
    assert verdicts == {"": False, "w": False, "ot": False, "wo": True, "wt": True, "wot": True}


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["log {log}"],
        ["quorum none"],
        ["log {log}", "log {log}", "quorum none"],
        ["log {w}", "quorum none"],
        ["log {log}", "witness w {log}", "quorum w"],
        ["log {log}", "witness w {w}", "witness w {o}", "quorum w"],
        ["log {log}", "witness w {w}", "witness v {w}", "quorum w"],
        ["log {log}", "witness w {w}", "group g 2 w", "quorum g"],
        ["log {log}", "witness w {w}", "group g 0 w", "quorum g"],
        ["log {log}", "witness w {w}", "group g 01 w", "quorum g"],
        ["log {log}", "witness w {w}", "group g 2 w w", "quorum g"],
        ["log {log}", "witness w {w}", "group g 1 x", "quorum g"],
        ["log {log}", "witness none {w}", "quorum none"],
        ["log {log}", "witness w {w}", "quorum x"],
        ["log {log}", "witness w {w}", "quorum w", "quorum w"],
        ["log {log}", "quorum none", "surprise"],
    ],
)
def test_a_policy_that_is_not_one_is_refused(lines):
    keys = {"log": LOG.to_vkey(), "w": WITNESS.to_vkey(), "o": OTHER.to_vkey()}
    with pytest.raises(VerificationError) as caught:
        parse_policy("\n".join(lines).format(**keys).encode())
    assert caught.value.code == "BAD_POLICY"


def test_a_policy_may_say_where_a_witness_is_asked():
    words = f"log {LOG.to_vkey()}\nwitness w {WITNESS.to_vkey()}{{}}\nquorum w\n"
    assert parse_policy(words.format(" https://w.example/path").encode()).urls == {"w": "https://w.example/path"}
    assert parse_policy(words.format("").encode()).urls == {}
    with pytest.raises(VerificationError) as caught:
        parse_policy(words.format(" https://w.example https://again.example").encode())
    assert caught.value.code == "BAD_POLICY"


@pytest.mark.parametrize("signer", [ed_signer(5), p256_signer()], ids=["ed25519", "p256"])
def test_a_leaf_is_read_as_it_was_written(signer):
    leaf = Leaf(pae_sha256=b"\x05" * 32, signature=signer.sign(b"x"), key=signer.public_key)
    data = leaf.to_bytes()
    assert parse_leaf(data) == leaf
    for wrong in (data + b" ", data.replace(b"0.0.2", b"0.0.1"), data.replace(b'"kind"', b'"king"')):
        with pytest.raises(VerificationError):
            parse_leaf(wrong)


def test_an_ed25519_leaf_has_the_size_that_rekor_v2_gives_it():
    leaf = Leaf(pae_sha256=bytes(32), signature=bytes(64), key=LOG_SIGNER.public_key)
    assert len(leaf.to_bytes()) == 406
