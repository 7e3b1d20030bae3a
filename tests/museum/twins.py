"""The evil twins of a published bundle, by name: what an outsider can make of its files, and what gives that away."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from protocol.attestation.bundle import CHECKPOINT_PATH, EVIDENCE_PREFIX, KEYRING_PATH, POLICY_PATH, VERIFY_PATH
from protocol.tlog.policy import parse_policy
from tests.worlds.tampering import edit_json, edit_payload, entry, flip, statement_file

Files = dict[str, bytes]


def the_flatterer(files: Files) -> None:
    """Publishes a lower figure than was signed."""

    def cheaper(statement: dict) -> None:
        figures = statement["predicate"]["cells"][0]["recomputed"]
        figures["itEnergyWhPer1000Queries"] = "0.000001"

    edit_payload(files, "campaign-result", cheaper)


def the_forgetful(files: Files) -> None:
    """Leaves out a session, and keeps its entry in the log."""
    del files[statement_file(files, "session-outcome")]


def the_eraser(files: Files) -> None:
    """Removes the largest piece of evidence."""
    del files[max((path for path in files if path.startswith(EVIDENCE_PREFIX)), key=lambda path: len(files[path]))]


def the_retoucher(files: Files) -> None:
    """Changes one bit in the middle of a meter's record."""
    path = max((path for path in files if path.startswith(EVIDENCE_PREFIX)), key=lambda path: len(files[path]))
    files[path] = flip(files[path], len(files[path]) // 2)


def the_smuggler(files: Files) -> None:
    """Adds a file that nobody signed for."""
    files[f"{EVIDENCE_PREFIX}{'0' * 64}"] = b"contraband"


def the_usurper(files: Files) -> None:
    """Gives a key of the keyring for ever to its holder."""
    edit_json(files, KEYRING_PATH, lambda envelope: envelope.update(payload=envelope["payload"][:-4] + "AAA="))


def the_unwitnessed(files: Files) -> None:
    """Strips the witnesses from the last checkpoint."""
    head, _, lines = files[CHECKPOINT_PATH].decode().partition("\n\n")
    log = parse_policy(files[POLICY_PATH]).log.name
    kept = [line for line in lines.splitlines() if line.split(" ")[1] == log]
    files[CHECKPOINT_PATH] = "\n".join([head, "", *kept, ""]).encode()


def the_time_traveller(files: Files) -> None:
    """Shows a statement at the place before its own."""

    def earlier(bundle: dict) -> None:
        for part in (entry(bundle), entry(bundle)["inclusionProof"]):
            part.update(logIndex=str(int(part["logIndex"]) - 1))

    edit_json(files, statement_file(files, "session-intent"), earlier)


def the_misguide(files: Files) -> None:
    """Rewrites the instructions."""
    files[VERIFY_PATH] = b"Trust me.\n"


# By name: the twin, and the (check, code) that must be among those that fail.
TWINS: Mapping[str, tuple[Callable[[Files], None], tuple[str, str]]] = {
    "the flatterer": (the_flatterer, ("inclusion", "NOT_LOGGED")),
    "the forgetful": (the_forgetful, ("completeness", "MISSING_STATEMENT")),
    "the eraser": (the_eraser, ("evidence", "EVIDENCE_MISSING")),
    "the retoucher": (the_retoucher, ("evidence", "EVIDENCE_DIFFERS")),
    "the smuggler": (the_smuggler, ("evidence", "EVIDENCE_DIFFERS")),
    "the usurper": (the_usurper, ("keyring", "BAD_SIGNATURE")),
    "the unwitnessed": (the_unwitnessed, ("log", "QUORUM")),
    "the time traveller": (the_time_traveller, ("inclusion", "BAD_PROOF")),
    "the misguide": (the_misguide, ("evidence", "VERIFY_TXT_CHANGED")),
}
