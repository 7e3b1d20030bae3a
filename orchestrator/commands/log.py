"""`jouleseal log checkpoint | prove | audit | monitor`: what a log shows, proves, and does not get away with."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Event

from orchestrator.commands.passphrase import unlocker
from orchestrator.disk import disk_errors, write_atomic
from orchestrator.record.audit import Audit, audit, kept_notes
from orchestrator.record.log_copy import Finding, LogCopy, open_copy
from orchestrator.record.monitor import Watched, look, watch_of
from orchestrator.record.registrar import Registrar
from protocol.attestation.sigstore_bundle import parse_sigstore_bundle
from protocol.errors import UsageError
from protocol.tlog.note import parse_note
from protocol.tlog.proofs import GrowthText

EXIT_SOUND = 0
EXIT_WRONG = 1


def run(arguments: argparse.Namespace) -> int:
    """Do what the second word says; 1 where `audit` or `monitor` found something wrong."""
    match arguments.action:
        case "checkpoint":
            return _checkpoint(arguments)
        case "prove":
            return _prove(arguments)
        case "audit":
            return _audit(arguments)
        case _:
            return _monitor(arguments)


def _checkpoint(arguments: argparse.Namespace) -> int:
    """Print the latest cosigned note; unless `--as-is`, after every witness was asked again."""
    missing: Sequence[object] = ()
    if arguments.as_is:
        note = open_copy(arguments.home).published().data
    else:
        voice = Registrar.open(arguments.home, unlocker(arguments.passphrase_file))
        if arguments.add is not None:
            voice.adopt(_read(arguments.add))
        with voice:
            note, missing = voice.refresh().note.to_bytes(), voice.missing_witnesses
    if arguments.out is not None:
        write_atomic(arguments.out, note)
    if arguments.json:
        parsed = parse_note(note)
        said = {"note": note.decode("utf-8"), "signedBy": [line.name for line in parsed.signatures]}
        print(json.dumps({**said, "missing": [str(item) for item in missing]}, indent=2))
    else:
        sys.stdout.write(note.decode("utf-8"))
    return EXIT_SOUND


def _prove(arguments: argparse.Namespace) -> int:
    copy = open_copy(arguments.home, arguments.policy)
    if arguments.old is not None:
        text = _growth(copy, arguments.old, arguments.new)
    elif arguments.entry is None:
        raise _usage("nothing to prove", "an entry's index, a statement's file, or --from SIZE")
    else:
        text = copy.inclusion_text(_index(arguments.entry)).to_bytes()
    if arguments.out is not None:
        write_atomic(arguments.out, text)
    if arguments.json:
        print(json.dumps({"proof": text.decode("utf-8")}, indent=2))
    elif arguments.out is None:
        sys.stdout.write(text.decode("utf-8"))
    else:
        print(f"proof  {arguments.out}")
    return EXIT_SOUND


def _growth(copy: LogCopy, old: int, new: int | None) -> bytes:
    """Return the consistency proof to a size for which a note was kept; by default to the largest that was signed."""
    kept = sorted(kept_notes(copy), key=lambda note: len(note.data))  # the copy with the most lines counts
    notes = {note.checkpoint.size: note for note in kept}
    size = max(notes, default=0) if new is None else new
    if size not in notes:
        raise _usage(f"no signed note of size {size}", f"one of {', '.join(map(str, sorted(notes)[-8:])) or 'none'}")
    if not 0 <= old <= size:
        raise _usage(f"a proof from {old} to {size}", "a tree that grew")
    proof = copy.tree(size).consistency(old, size) if 0 < old < size else []
    return GrowthText(old_size=old, proof=tuple(proof), note=notes[size].data).to_bytes()


def _index(text: str) -> int:
    """Return the index of an entry that is named by number or by its statement's file."""
    if text.isascii() and text.isdigit():
        return int(text)
    return parse_sigstore_bundle(_read(Path(text))).entry.log_index


def _audit(arguments: argparse.Namespace) -> int:
    done = audit(open_copy(arguments.folder, arguments.policy), arguments.note)
    if arguments.json:
        said = {"sound": done.sound, "size": done.size, "root": done.root.hex(), "checked": done.checked}
        print(json.dumps({**said, "findings": [item.as_dict() for item in done.findings]}, indent=2))
    else:
        _print_audit(done)
    return EXIT_SOUND if done.sound else EXIT_WRONG


def _print_audit(done: Audit) -> None:
    print(f"log     {done.size} entries, root {done.root.hex()}")
    print(f"read    {', '.join(f'{count} {name}' for name, count in done.checked.items())}")
    _print_findings(done.findings)
    print("sound   everything that was read fits together" if done.sound else "WRONG   see the lines above")


def _monitor(arguments: argparse.Namespace) -> int:
    stop = Event()
    if arguments.every is not None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
    code = EXIT_SOUND
    while True:
        watch = watch_of(
            open_copy(arguments.folder, arguments.policy),
            against=None if arguments.against is None else open_copy(arguments.against, _policy_for(arguments)),
            statements=arguments.statements,
            keys=arguments.key,
            state=arguments.state,
        )
        seen = look(watch)
        _print_watched(seen, as_json=arguments.json)
        code = code if seen.sound else EXIT_WRONG
        if arguments.every is None or code != EXIT_SOUND or stop.wait(arguments.every):
            return code


def _policy_for(arguments: argparse.Namespace) -> Path | None:
    """Return the policy by which the other copy is read: the same one, because it is the same log."""
    if arguments.policy is not None:
        return Path(arguments.policy)
    own = arguments.folder / "trust" / "policy.txt"
    return own if own.is_file() else None


def _print_watched(seen: Watched, *, as_json: bool) -> None:
    if as_json:
        said = {
            "sound": seen.sound,
            "size": seen.size,
            "root": seen.root.hex(),
            "campaigns": [item.as_dict() for item in seen.campaigns],
            "findings": [item.as_dict() for item in seen.findings],
            "notes": [note.decode("utf-8") for note in seen.notes],
        }
        print(json.dumps(said), flush=True)
        return
    print(f"log     {seen.size} entries, root {seen.root.hex()}")
    for item in seen.campaigns:
        place = f"{item.vendor}/{item.model} campaign {item.vendor_seq}"
        print(f"plan    {place}: {item.status}, entry {item.log_index}, {item.plan_id[:16]}")
    _print_findings(seen.findings)
    for note in seen.notes:
        print("keep this signed note, it is evidence:")
        print("\n".join(f"  {line}" for line in note.decode("utf-8").splitlines()))
    print("sound   nothing that was looked at is wrong" if seen.sound else "WRONG   see the lines above", flush=True)


def _print_findings(findings: Sequence[Finding]) -> None:
    for item in findings:
        print(f"{'WRONG ' if item.wrong else 'note  '}  {item.code}  {item.where}: {item.observed}")


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise _usage(f"{path} is no file", "a file")
    with disk_errors(path.name):
        return path.read_bytes()


def _usage(observed: str, expected: str) -> UsageError:
    return UsageError(observed=observed, expected=expected, hint="see docs/log.md")
