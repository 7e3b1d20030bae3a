"""`jouleseal equivalence`: what a vendor says of production, how an auditor tries it, and what is published of both."""

from __future__ import annotations

import argparse
import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.batch import BatchFile
from orchestrator.commands.passphrase import unlocker
from orchestrator.commands.submission import production_of
from orchestrator.datasets import store as datasets
from orchestrator.disk import disk_errors, write_atomic
from orchestrator.equivalence.comparing import LoggedChallenge, find, open_challenge, seed_of
from orchestrator.equivalence.endpoint import Endpoint, WireEndpoint
from orchestrator.equivalence.recorded import Recorder, read_recorded, write_recorded
from orchestrator.equivalence.sealed import SealedCampaign, read_campaign
from orchestrator.record.beside import campaign_open, log_beside
from orchestrator.record.bundle import export
from orchestrator.record.keys import load_key
from orchestrator.record.registrar import Registrar
from orchestrator.record.store import EvidenceStore
from protocol.attestation.beside import Beside, open_beside, read_beside_file, sign_beside
from protocol.attestation.bundle import POLICY_PATH, read_bundle
from protocol.attestation.claims import PlanCell
from protocol.attestation.digest import is_sha256_hex
from protocol.attestation.equivalence import (
    EQUIVALENCE_DRAW_RULE,
    MAX_LEAVES_PER_RUN,
    EquivalenceChallenge,
    EquivalenceFinding,
    ProductionEquivalence,
    commitment_of,
    leaves_wanted,
)
from protocol.attestation.moment import format_moment
from protocol.attestation.openings import MAX_OPENINGS_BYTES, SEED_BYTES, parse_openings
from protocol.attestation.sigstore_bundle import parse_sigstore_bundle
from protocol.errors import UsageError
from protocol.methodology.dataset import Dataset
from protocol.tlog.policy import parse_policy

EXIT_DIFFERS = 1
MAX_FILE_BYTES = 8 << 20
_PRIVATE = 0o600


def run(arguments: argparse.Namespace) -> int:
    """Do what the second word says; 1 where `check` finds that production differs."""
    match arguments.action:
        case "declare":
            return _declare(arguments)
        case "challenge":
            return _challenge(arguments)
        case "log":
            return _log(arguments)
        case "draw":
            return _draw(arguments)
        case "check":
            return _check(arguments)
        case _:
            return _publish(arguments)


def _declare(arguments: argparse.Namespace) -> int:
    campaign = read_campaign(read_bundle(arguments.bundle), arguments.campaign)
    production = production_of(arguments)
    if production is None:
        raise UsageError(observed="no production", expected="--engine and its like", hint="say what you serve")
    submission = campaign.plan.submission
    word = ProductionEquivalence(
        campaign=campaign.campaign,
        vendor=submission.vendor,
        model=submission.model,
        model_version=submission.model_version,
        production=production,
        declared_on=format_moment(datetime.now(UTC)),
    )
    return _signed(arguments, word, campaign, {"declared": f"{submission.vendor} serves image {campaign.image_sha256}"})


def _challenge(arguments: argparse.Namespace) -> int:
    campaign = read_campaign(read_bundle(arguments.bundle), arguments.campaign)
    declaration, declared = _declaration(arguments.declaration, campaign)
    runs = min((len(session.outcome.runs) for session in campaign.sessions), default=1)
    leaves = leaves_wanted(max(runs, 1)) if arguments.leaves is None else arguments.leaves
    if not 1 <= leaves <= MAX_LEAVES_PER_RUN:
        raise UsageError(observed=f"--leaves {leaves}", expected=f"1 to {MAX_LEAVES_PER_RUN}", hint="ask for fewer")
    secret = secrets.token_bytes(SEED_BYTES)
    challenge = EquivalenceChallenge(
        campaign=campaign.campaign,
        declaration=declaration,
        commitment=commitment_of(secret),
        draw_rule=EQUIVALENCE_DRAW_RULE,
        leaves_per_run=leaves,
        challenged_on=format_moment(datetime.now(UTC)),
    )
    if arguments.secret.exists():
        raise UsageError(
            observed=f"{arguments.secret} is there already",
            expected="a path without a file",
            hint="a secret that is overwritten cannot be revealed; name another file",
        )
    write_atomic(arguments.secret, f"{secret.hex()}\n".encode(), mode=_PRIVATE)
    production = declared.production
    told: dict[str, object] = {
        "challenged": f"{declared.vendor}: {declared.model} {declared.model_version}",
        "leavesPerRun": leaves,
        "engine": f"{production.engine} {production.engine_version}",
        "differences": list(production.differences),
    }
    return _signed(arguments, challenge, campaign, told)


def _log(arguments: argparse.Namespace) -> int:
    data = _read(arguments.file)
    unfinished = BatchFile(arguments.home / "batch.json").read()
    if (
        unfinished is not None and unfinished.plans
    ):  # its bundle opens everything from its first plan to its last result
        raise campaign_open("a batch of several submissions" if len(unfinished.keys) > 1 else "a submission")
    with Registrar.open(arguments.home, unlocker(arguments.passphrase_file)) as voice:
        kept = log_beside(voice, data, now=datetime.now(UTC))
    write_atomic(arguments.out, kept.data)
    _say(arguments, {"logged": kept.name, "index": kept.link.log_index, "id": kept.link.statement_id})
    return 0


def _draw(arguments: argparse.Namespace) -> int:
    logged = open_challenge(_read(arguments.challenge))
    seed = seed_of(logged, _secret(arguments.secret)).hex()
    write_atomic(arguments.out, f"{seed}\n".encode())
    _say(arguments, {"seed": seed, "count": logged.challenge.leaves_per_run})
    return 0


def _check(arguments: argparse.Namespace) -> int:
    files = read_bundle(arguments.bundle)
    campaign = read_campaign(files, arguments.campaign)
    logged = open_challenge(_read(arguments.challenge), parse_policy(files[POLICY_PATH]))
    _, declared = _declaration(arguments.declaration, campaign, logged.challenge.declaration)
    asked = Recorder(_endpoint(arguments, logged), {})
    finding = find(
        campaign,
        logged,
        _secret(arguments.secret),
        parse_openings(_read(arguments.openings, limit=MAX_OPENINGS_BYTES)),
        declared=declared,
        endpoint=asked,
        datasets=lambda cell: _dataset(cell, arguments.datasets),
        now=datetime.now(UTC),
    )
    if arguments.record is not None:
        answers = write_recorded(finding.endpoint, logged.link.statement_id, sorted(asked.lines.items()))
        write_atomic(arguments.record, answers, mode=_PRIVATE)
    _signed(arguments, finding, campaign, _told(finding))
    return 0 if finding.verdict == "agree" else EXIT_DIFFERS


def _publish(arguments: argparse.Namespace) -> int:
    indexes = [file.log_index for file in read_bundle(arguments.bundle).statements()]
    if not indexes:
        raise UsageError(
            observed="a bundle without a statement", expected="a published bundle", hint="see jouleseal run"
        )
    evidence = EvidenceStore(arguments.home / "evidence")
    done = export(arguments.home, min(indexes), max(indexes), evidence, arguments.out)
    _say(arguments, {"bundle": str(done.path), "files": done.files})
    return 0


def _told(finding: EquivalenceFinding) -> dict[str, object]:
    cells = {cell.cell_id: f"{cell.differing} of {cell.drawn} answers differ" for cell in finding.cells}
    return {"verdict": finding.verdict, "production": finding.endpoint.kind, **cells}


def _endpoint(arguments: argparse.Namespace, logged: LoggedChallenge) -> Endpoint:
    if arguments.recorded is not None:
        return read_recorded(arguments.recorded, logged.link.statement_id)
    local = arguments.endpoint.startswith("unix:")
    roots = None if arguments.tls_roots is None else _read(arguments.tls_roots)
    return WireEndpoint(target=arguments.endpoint, tls=not (local or arguments.plaintext), roots=roots)


def _dataset(cell: PlanCell, folder: Path) -> Dataset:
    return datasets.load(cell.dataset.name, folder)


def _declaration(path: Path, campaign: SealedCampaign, wanted: str | None = None) -> tuple[str, ProductionEquivalence]:
    """Return the id of the vendor's word, as it was logged, and the word; UsageError where it is another one."""
    envelope = parse_sigstore_bundle(_read(path)).envelope
    statement, said = open_beside(envelope)
    about = (statement.subject_sha256, getattr(said, "campaign", None))
    if not isinstance(said, ProductionEquivalence) or about != (campaign.image_sha256, campaign.campaign):
        raise UsageError(
            code="OTHER_DECLARATION",
            observed=f"{path}: a {statement.predicate_name} about another image or campaign",
            expected=f"the vendor's word on campaign {campaign.campaign}, as the operator logged it",
            hint="ask the operator for the file that `jouleseal equivalence log` wrote",
        )
    if wanted not in {None, envelope.statement_id}:
        raise UsageError(
            code="OTHER_DECLARATION",
            observed=f"{path}: declaration {envelope.statement_id}",
            expected=f"{wanted}, which the challenge names",
            hint="give the declaration that was challenged",
        )
    return envelope.statement_id, said


def _signed(
    arguments: argparse.Namespace, predicate: Beside, campaign: SealedCampaign, told: Mapping[str, object]
) -> int:
    signer = load_key(arguments.key, unlocker(arguments.passphrase_file))
    data = sign_beside(predicate, campaign.image_sha256, signer)
    read_beside_file(data)  # what our own verifier would refuse is not handed over
    write_atomic(arguments.out, data)
    _say(arguments, {**told, "signed": str(arguments.out)})
    return 0


def _say(arguments: argparse.Namespace, told: Mapping[str, object]) -> None:
    if arguments.json:
        print(json.dumps(told, indent=2))
        return
    for name, value in told.items():
        shown = "; ".join(map(str, value)) if isinstance(value, list) else value
        if shown != "":
            print(f"{name:<12}  {shown}")


def _secret(path: Path) -> bytes:
    text = _read(path).decode("ascii", errors="replace").strip()
    if not is_sha256_hex(text):
        raise UsageError(
            code="SECRET_MALFORMED",
            observed=f"{path}: {len(text)} characters",
            expected="64 lower-case hexadecimal digits",
            hint="give the file that `jouleseal equivalence challenge` wrote",
        )
    return bytes.fromhex(text)


def _read(path: Path, *, limit: int = MAX_FILE_BYTES) -> bytes:
    with disk_errors(str(path)):
        if not path.is_file():
            raise UsageError(observed=f"no file {path}", expected="a file that you may read", hint="name another file")
        with path.open("rb") as file:
            data = file.read(limit + 1)
    if len(data) > limit:
        raise UsageError(observed=f"{path}: over {limit} bytes", expected="a smaller file", hint="name another file")
    return data
