"""Check 13: every digest that a statement refers to is there, byte for byte, and nothing else is; none is used twice.

The index of a dataset is the planned one's: its digest, its sources and its thirds follow from it (`dataset`).

What is referred to and absent makes the claim false: otherwise deleting a file would turn a failure into a shrug.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol.attestation.bundle import VERIFY_PATH, BundleFiles, evidence_path
from protocol.attestation.digest import sha256_hex
from protocol.attestation.predicates import VERIFY_TXT, Predicate
from verifier.checks import dataset
from verifier.facts import Opened, Session, Story
from verifier.walk import Established, Findings, false

_LAUNCH_PROFILE = "launch-profile"


def check(files: BundleFiles, stories: Sequence[Story]) -> Established[dict[str, bytes]]:
    """Return the evidence by hexadecimal digest."""
    findings = Findings()
    wanted, found = _wanted(stories), files.evidence_digests()
    evidence: dict[str, bytes] = {}
    for digest, path in wanted.items():
        if digest not in found:
            expected = f"the evidence that {path} refers to"
            findings.add(false("EVIDENCE_MISSING", observed=f"no {evidence_path(digest)}", expected=expected))
    for digest in sorted(found):
        with findings.collecting():
            evidence[digest] = files.evidence(digest)
        if digest not in wanted:
            findings.add(
                false(
                    "UNREFERENCED_FILE",
                    observed=f"evidence/sha256/{digest}, which no statement refers to",
                    expected="no file that nobody signed for",
                )
            )
    for story in stories:
        _check_verify_txt(files, story, findings)
        _check_profile(story, findings)
        for session in story.sessions:
            with findings.collecting():
                dataset.check(story, session, evidence)
    _check_reuse([session for story in stories for session in story.sessions], findings)
    findings.settle()
    size = sum(len(data) for data in evidence.values())
    return Established(evidence, f"{len(wanted)} files, {size} bytes, each as the statements name it")


def _wanted(stories: Sequence[Story]) -> dict[str, str]:
    """Return every digest that must be there, and the path of the first statement that refers to it."""
    wanted: dict[str, str] = {}
    for story in stories:
        parts: list[Opened[Predicate]] = [story.plan, *(session.outcome for session in story.sessions), story.result]
        for part in parts:
            for digest in part.predicate.evidence():
                wanted.setdefault(digest, part.path)
    return wanted


def _check_verify_txt(files: BundleFiles, story: Story, findings: Findings) -> None:
    claimed = [item.sha256 for item in story.result.predicate.byproducts if item.name == VERIFY_TXT]
    found = sha256_hex(files[VERIFY_PATH])
    if claimed != [found]:
        findings.add(
            false(
                "VERIFY_TXT_CHANGED",
                observed=f"VERIFY.txt hashes to {found}",
                expected=f"{', '.join(claimed) or 'a byproduct VERIFY.txt'}, as {story.result.path} says",
            )
        )


def _check_profile(story: Story, findings: Findings) -> None:
    planned = story.plan.predicate.launch_profile_sha256
    for session in story.sessions:
        used = [item.sha256 for item in session.outcome.predicate.byproducts if item.name == _LAUNCH_PROFILE]
        if used != [planned] and (session.completed or used):
            findings.add(
                false(
                    "OTHER_LAUNCH_PROFILE",
                    observed=f"{session.outcome.path} ran under launch profile {', '.join(used) or 'none'}",
                    expected=f"{planned}, as planned",
                )
            )


def _check_reuse(sessions: Sequence[Session], findings: Findings) -> None:
    """Two sessions cannot have one meter's record or one timeline: the clock alone tells them apart."""
    first: dict[str, str] = {}
    for session in sessions:
        outcome = session.outcome.predicate
        own = [
            *(run.timeline_sha256 for run in outcome.runs),
            *(probe.timeline_sha256 for probe in outcome.probes),
            *([outcome.trace_sha256] if outcome.trace_sha256 else []),
        ]
        for digest in dict.fromkeys(own):
            if digest in first:
                findings.add(
                    false(
                        "EVIDENCE_REUSED",
                        observed=f"{session.outcome.path} and {first[digest]} both refer to {digest}",
                        expected="a record and timelines of its own for every session",
                    )
                )
            first.setdefault(digest, session.outcome.path)
