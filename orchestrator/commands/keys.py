"""`jouleseal keys`: the ceremony that decides who is trusted, one explained step at a time."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.commands.keys_step import Step, usage
from orchestrator.commands.keys_words import EXPLANATIONS
from orchestrator.disk import write_atomic
from orchestrator.record import ceremony
from orchestrator.record.ceremony import MAX_KEY_DAYS, MAX_RUNNER_DAYS, Change, Enrolment
from orchestrator.record.ceremony_files import (
    CeremonyFile,
    RootFile,
    add_signature,
    governing_root,
    needs,
    read_file,
)
from orchestrator.record.ceremony_home import Installed, install, last_index, settle, trust_of
from orchestrator.record.ceremony_words import describe, difference, show_json, show_lines, signatures
from orchestrator.record.domain import runner_in_force, runner_key_path, successor_passphrase
from orchestrator.record.keys import FileSigner, encrypt_key, load_key, new_key, save_key
from orchestrator.record.trust import TRUST, Trust
from protocol.attestation.digest import IMAGE_DIGEST_PREFIX, is_sha256_hex
from protocol.attestation.jcs import Json
from protocol.attestation.keyring import EnrolledKey
from protocol.attestation.keys import Signer
from protocol.attestation.pem import pem_public_key
from protocol.attestation.possession import prove
from protocol.attestation.root import TARGETS_ROLE, Root, read_root_draft
from protocol.attestation.statement import PREDICATE_NAMES
from protocol.errors import UsageError


def run(arguments: argparse.Namespace) -> int:
    """Do one step; print what it did, in plain words, and what comes next."""
    steps: dict[str, Callable[[Step, datetime], None]] = {
        "new": _new,
        "encrypt": _encrypt,
        "prove": _prove,
        "root-init": _root_init,
        "root-sign": _root_sign,
        "enrol": _enrol,
        "renew": _renew,
        "rotate": _rotate,
        "revoke": _revoke,
        "install": _install,
        "show": _show,
    }
    step = Step(arguments)
    steps[arguments.step](step, datetime.now(UTC))
    if arguments.json:
        written: list[Json] = list(step.written)
        print(
            json.dumps({"step": arguments.step, "dryRun": step.dry_run, "written": written, **step.document}, indent=2)
        )
        return 0
    print("\n".join([*step.lines, *(f"wrote {path}" for path in step.written)]))
    if step.dry_run:
        print("\nThis was a dry run: nothing was written.")
    if arguments.step in EXPLANATIONS:
        print(f"\n{EXPLANATIONS[arguments.step]}")
    return 0


def _new(step: Step, _now: datetime) -> None:
    path: Path = step.arguments.key
    public = path.with_suffix(".pub")
    if public == path:
        raise usage(f"a private key named {path.name}", "another name", "end it with .pem; .pub is for its public half")
    step.check_new(public)
    if step.dry_run:
        step.say(f"would make {path} (mode 0600) and {public}")
        return
    if path.exists():  # its public half is not there: an interruption left it so, or somebody wants it again
        signer = step.load(path)
    else:
        signer = new_key()
        save_key(signer, path, step.new_passphrase())
        step.written.append(str(path))
    write_atomic(public, signer.public_key.to_pem().encode("ascii"))
    step.written.append(str(public))
    step.say(f"key {signer.public_key.key_id}")
    step.document |= {"keyId": signer.public_key.key_id, "publicKey": signer.public_key.to_pem()}


def _encrypt(step: Step, _now: datetime) -> None:
    paths: list[Path] = step.arguments.keys
    passphrase = step.new_passphrase()
    if passphrase is None:
        raise usage("no passphrase", "the one that opens the keys from now on", "give --passphrase-file")
    for path in paths:  # all of them can be read, and none has another passphrase, before the first is changed
        load_key(path, lambda _name: passphrase)
    for path in paths:
        if step.dry_run:
            step.say(f"would encrypt {path}")
        elif encrypt_key(path, passphrase):
            step.written.append(str(path))
        else:
            step.say(f"{path} is encrypted with this passphrase already")


def _prove(step: Step, _now: datetime) -> None:
    role = step.arguments.role
    domain = step.arguments.domain.removeprefix(IMAGE_DIGEST_PREFIX)
    if not is_sha256_hex(domain):
        raise UsageError(
            code="BAD_FINGERPRINT",
            observed=repr(step.arguments.domain[:80]),
            expected="sha256: and 64 lower-case hexadecimal digits",
            hint="take it from the operator; `jouleseal keys show` prints it as `domain`",
        )
    signer = step.load(step.arguments.key)
    key_id = signer.public_key.key_id
    step.say(f"key {key_id} asks to be a {role} in the domain sha256:{domain}")
    step.document |= {"keyId": key_id, "role": role, "domain": f"sha256:{domain}"}
    step.write(step.arguments.out, prove(signer, role, domain))


def _root_init(step: Step, now: datetime) -> None:
    asked = step.arguments
    trust = None if asked.trust is None else trust_of(asked.trust)
    holders = [pem_public_key(step.read(path)) for path in asked.holder]
    draft = ceremony.draft_root(trust, holders, asked.threshold, now, asked.days)
    root = read_root_draft(draft)
    drafts = {f"{root.version}.root.json": draft}
    if trust is not None:
        again = ceremony.reissue(trust, now)
        drafts[f"keyring-{again.keyring.version}.dsse.json"] = again.keyring_draft()
    for data in drafts.values():
        item = read_file(data)
        step.say(*describe(item, trust, now), *signatures(needs(item, trust, root)))
    step.document |= {"version": root.version, "threshold": asked.threshold}
    _write_drafts(step, drafts)


def _root_sign(step: Step, now: datetime) -> None:
    trust = None if step.arguments.trust is None else trust_of(step.arguments.trust)
    items = {path: read_file(step.read(path)) for path in step.arguments.files}
    ruling = governing_root(trust, items.values())
    for item in items.values():
        step.say(*describe(item, trust, now), *signatures(needs(item, trust, ruling)))
        if isinstance(item, RootFile) and item.root.version > 1 and trust is None:
            step.say("  the version before is not at hand: give --from to see what changes")
    if not step.dry_run:
        step.confirm()
    signers = [step.load(path) for path in step.arguments.key]
    signed = {path: _signed(item, signers, trust, ruling) for path, item in items.items()}
    standing = {path: needs(item, trust, ruling) for path, item in signed.items()}
    for path, item in signed.items():
        step.say(f"{path.name}, with this signature:", *(f"  {line}" for line in signatures(standing[path])))
        if item.data != items[path].data:
            step.write(path, item.data, over=True)
    complete = all(need.met for found in standing.values() for need in found)
    step.say("the threshold is reached: install it" if complete else "more holders must sign")
    step.document |= {"complete": complete}


def _enrol(step: Step, now: datetime) -> None:
    asked = step.arguments
    trust = _trust(step)
    runner = asked.role == "runner"
    wanted = Enrolment(
        role=asked.role,
        name=asked.name,
        organisation=asked.organisation,
        days=asked.days if asked.days is not None else MAX_RUNNER_DAYS if runner else MAX_KEY_DAYS,
        devices=tuple(asked.device),
        predicate_names=tuple(asked.predicate or (PREDICATE_NAMES if runner else ())),
    )
    policy = None if asked.policy is None else step.read(asked.policy)
    _deliver(step, trust, ceremony.enrol(trust, step.read(asked.proof), wanted, now, policy), now)


def _renew(step: Step, now: datetime) -> None:
    trust = _trust(step)
    key = ceremony.find_key(trust.keyring, step.arguments.name)
    _deliver(step, trust, ceremony.renew(trust, key, now=now, days=step.arguments.days), now)


def _rotate(step: Step, now: datetime) -> None:
    asked = step.arguments
    trust = _trust(step)
    if asked.trust is not None and asked.proof is None:
        raise usage("--from without --proof", "a proof of the next key", "jouleseal keys prove, where that key is")
    successor = new_key() if asked.proof is None else None
    proof = step.read(asked.proof) if successor is None else prove(successor, "runner", trust.domain)
    key, last = _runner(step, trust), _last_valid_index(step)
    change = ceremony.rotate(trust, key, proof, last, reason=asked.reason, now=now, days=asked.days)
    _deliver(step, trust, change, now, successor)


def _revoke(step: Step, now: datetime) -> None:
    trust = _trust(step)
    key = ceremony.find_key(trust.keyring, step.arguments.name)
    change = ceremony.revoke(trust, key, _last_valid_index(step), reason=step.arguments.reason, now=now)
    _deliver(step, trust, change, now)


def _install(step: Step, now: datetime) -> None:
    home = step.arguments.home
    items = [read_file(step.read(path)) for path in step.arguments.files]
    if not step.dry_run:
        settle(home)
    before = trust_of(home / TRUST)
    done = install(home, items, step.unlock, dry_run=step.dry_run)
    step.say(*difference(before.keyring, done.trust.keyring, now))
    _say_installed(step, done)


def _show(step: Step, now: datetime) -> None:
    trust = trust_of(step.arguments.trust or step.arguments.home / TRUST)
    step.say(*show_lines(trust, now))
    step.document |= show_json(trust, now)


def _deliver(step: Step, trust: Trust, change: Change, now: datetime, successor: FileSigner | None = None) -> None:
    """Write a change as drafts, or sign it and put it in force here; a dry run only says what it would be."""
    lines = difference(trust.keyring, change.keyring, now)
    if successor is not None and step.dry_run:
        lines = [line.replace(successor.public_key.key_id, "that will be made then") for line in lines]
    changes: list[Json] = list(lines)
    step.say(f"keyring version {trust.keyring.version} becomes {change.keyring.version}:")
    step.say(*(f"  {line}" for line in lines))
    step.document |= {"keyringVersion": change.keyring.version, "changes": changes}
    items = {name: read_file(data) for name, data in _drafts(trust, change).items()}
    if step.dry_run:
        return
    signers = _holders(step, trust)
    signed = {name: _signed(item, signers, trust, trust.root) for name, item in items.items()}
    if step.arguments.out is not None:
        _write_drafts(step, {name: item.data for name, item in signed.items()}, successor)
        for item in signed.values():
            step.say(*signatures(needs(item, trust, trust.root)))
        return
    _check_enough(signed.values(), trust)
    done = install(step.arguments.home, list(signed.values()), step.unlock, successor=successor)
    if successor is not None:
        step.written.append(str(runner_key_path(step.arguments.home, successor.public_key.key_id)))
    _say_installed(step, done)


def _drafts(trust: Trust, change: Change) -> dict[str, bytes]:
    version = change.keyring.version
    drafts = {f"keyring-{version}.dsse.json": change.keyring_draft()}
    event = change.event_draft()
    if event is not None:
        drafts[f"key-event-{version}.dsse.json"] = event
    if change.policy_bytes != trust.policy_bytes:
        drafts[f"policy-{version}.txt"] = change.policy_bytes
    return drafts


def _write_drafts(step: Step, drafts: Mapping[str, bytes], successor: FileSigner | None = None) -> None:
    """Write drafts for other holders, none over another; a key that was made for them goes into the home first."""
    out: Path = step.arguments.out
    for name in drafts:
        step.check_new(out / name)
    if successor is not None:
        path = runner_key_path(step.arguments.home, successor.public_key.key_id)
        keyring = trust_of(step.arguments.home / TRUST).keyring
        save_key(successor, path, successor_passphrase(step.arguments.home, keyring, step.unlock))
        step.written.append(str(path))
    for name, data in drafts.items():
        step.write(out / name, data)


def _check_enough(signed: Iterable[CeremonyFile], trust: Trust) -> None:
    short = [need for item in signed for need in needs(item, trust, trust.root) if not need.met]
    if short:
        raise UsageError(
            code="BELOW_THRESHOLD",
            observed=signatures(short)[0],
            expected="enough holders' keys here, or drafts for the others",
            hint="write drafts with --out DIR, have them signed with `jouleseal keys root-sign`, then install them",
        )


def _say_installed(step: Step, done: Installed) -> None:
    root, keyring = done.trust.root.version, done.trust.keyring.version
    step.say(f"{'would be' if step.dry_run else 'now'} in force: root version {root}, keyring version {keyring}")
    if done.event_index is not None:
        step.say(f"the key event is in the log at index {done.event_index}")
    if done.waits_for is not None:
        step.say(f"the key event waits for its witnesses: {done.waits_for}")
        step.say("the next command that opens the log asks them again; nothing else is logged before it")
    step.document |= {
        "rootVersion": root,
        "keyringVersion": keyring,
        "eventIndex": done.event_index,
        "waitsFor": done.waits_for,
    }


def _signed(item: CeremonyFile, signers: Iterable[Signer], trust: Trust | None, ruling: Root | None) -> CeremonyFile:
    for signer in signers:
        item = read_file(add_signature(item, signer, trust, ruling))
    return item


def _trust(step: Step) -> Trust:
    """Return the trust that a change begins with: the home's, or a copy on a machine that only drafts."""
    asked = step.arguments
    if asked.trust is None:
        if not step.dry_run:
            settle(asked.home)
        return trust_of(asked.home / TRUST)
    if asked.out is None:
        raise usage("--from without --out", "--out DIR for the drafts", "where the log is, leave --from out")
    return trust_of(asked.trust)


def _runner(step: Step, trust: Trust) -> EnrolledKey:
    """Return the runner's key that is meant: the one that was named, else the one in force in the home."""
    if step.arguments.runner is not None:
        return ceremony.find_key(trust.keyring, step.arguments.runner)
    if step.arguments.trust is not None:
        raise usage("--from and no RUNNER", "whose key is rotated", "name the runner, or its key id")
    return runner_in_force(step.arguments.home / "keys", trust.keyring, step.unlock)[0]


def _holders(step: Step, trust: Trust) -> list[FileSigner]:
    """Return who signs here: the keys that were named, else the root key that `jouleseal init` left in the home."""
    if step.arguments.key:
        return [step.load(path) for path in step.arguments.key]
    own = step.arguments.home / "keys" / "root.pem"
    if step.arguments.out is not None or not own.exists():
        return []
    signer = step.load(own)
    return [signer] if signer.public_key in trust.root.role_keys(TARGETS_ROLE).values() else []


def _last_valid_index(step: Step) -> int:
    given: int | None = step.arguments.last_valid_index
    if given is None:
        return last_index(step.arguments.home if step.arguments.trust is None else step.arguments.trust)
    if given < 0:
        raise usage(f"--last-valid-index {given}", "an index from 0", "the first entry of the log has index 0")
    return given
