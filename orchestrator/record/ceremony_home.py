"""A ceremony's last step, on the machine that holds the log: what was signed takes the place of what was trusted.

The rules:
1. The log is held while it happens, and no campaign is open: an entry inside its range would not be its own. A key
   that was stolen need not wait.
2. A key that is given an end has signed nothing after it; a revocation alone may end a key in its past.
3. A runner's successor is installed only where its key file is.
4. Trust and key event take their places in one step (`orchestrator.record.trust`); the event is logged after it, at the
   latest when the domain is opened next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.disk import disk_errors
from orchestrator.record.ceremony_files import CeremonyFile, EventFile, follow
from orchestrator.record.domain import open_domain, runner_key_path, successor_passphrase
from orchestrator.record.keys import FileSigner, Unlock, no_passphrase, save_key
from orchestrator.record.log import read_entries
from orchestrator.record.registrar import Registrar
from orchestrator.record.trust import KEY_EVENTS, ROOT_FILE, TRUST, Trust, finish_replacing, read_trust, replace_trust
from protocol.attestation.key_event import KEY_EVENT, KeyEvent
from protocol.errors import RecordUnsound, UsageError

_BATCH = "batch.json"
_NO_QUORUM = "NO_QUORUM"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """The trust that is in force now, and the log index of the key event: None where no key changed, or it waits.

    `waits_for` says which witnesses a key event waits for, in the words of who asked them.
    """

    trust: Trust
    event_index: int | None
    waits_for: str | None = None


def trust_of(folder: Path) -> Trust:
    """Return the trust in a folder, which may be a copy; UsageError NO_DOMAIN where there is none."""
    if not (folder / ROOT_FILE).is_file():
        raise UsageError(
            code="NO_DOMAIN",
            observed=f"{folder} has no {ROOT_FILE}",
            expected="the trust folder of a domain, or a copy of it",
            hint="name it with --from, or name the domain's home with --home",
        )
    return read_trust(folder)


def settle(home: Path) -> None:
    """Carry through a change that an interruption left ready."""
    finish_replacing(home)


def last_index(home: Path) -> int:
    """Return the index of the log's last entry, 0 where it is empty; UsageError NO_LOG where there is no log."""
    if not (home / "log").is_dir():
        raise UsageError(
            code="NO_LOG",
            observed="no log here that tells the last index",
            expected="--last-valid-index N",
            hint="ask the operator for the log's size; N is the last index that the key may have signed",
        )
    return max(0, len(read_entries(home / "log")) - 1)


def install(
    home: Path,
    files: Sequence[CeremonyFile],
    unlock: Unlock = no_passphrase,
    *,
    successor: FileSigner | None = None,
    clock: Callable[[], int] | None = None,
    dry_run: bool = False,
) -> Installed:
    """Put signed files in force in a home, log the key event, and return what is in force now.

    `successor` is a key that was made for this here; it is saved when everything else fits. With `dry_run` every file
    and every signature is checked, and nothing is written. VerificationError as of `follow`; UsageError CAMPAIGN_OPEN,
    KEY_USED_SINCE; RecordUnsound KEY_MISSING, and those of domain, log and disk.
    """
    events = [item.stated.event for item in files if isinstance(item, EventFile)]
    if dry_run:
        after, _ = follow(trust_of(home / TRUST), files)
        return Installed(trust=after, event_index=None)
    with Registrar(open_domain(home, unlock), clock=clock) as voice:
        after, event = follow(voice.domain.trust, files)
        for told in events:
            _check_fits(voice, told)
            _bring_successor(voice, told, successor, unlock)
        replace_trust(home, after, event)
        if any(_ends_speaker(voice, told) for told in events):
            _forget_batch(home)
    try:
        with Registrar(open_domain(home, unlock), clock=clock):
            pass  # entering logs the event
    except RecordUnsound as error:
        if error.code != _NO_QUORUM:
            raise
        return Installed(trust=after, event_index=None, waits_for=error.observed)
    return Installed(trust=after, event_index=_event_index(home) if event is not None else None)


def _check_fits(voice: Registrar, told: KeyEvent) -> None:
    """Return if the home can follow the event now.

    A key event inside a campaign's range would stand there as an entry that no bundle opens, so it waits for the
    campaign's end; but not the end of the very key that the campaign is signed with.
    """
    if not _ends_speaker(voice, told) and (voice.open_campaigns() or (voice.domain.home / _BATCH).exists()):
        raise _unfit(
            "CAMPAIGN_OPEN",
            "a campaign, or a batch of them, that is not finished",
            "every campaign with its result, and its bundle written",
            "run the same `jouleseal run` again until it ends; then this step again",
        )
    if told.event != "rotated":
        return
    later = [
        item.log_index
        for item in voice.history
        if item.predicate.runner.key_id == told.key_id and item.log_index > (told.last_valid_index or 0)
    ]
    if later:
        raise _unfit(
            "KEY_USED_SINCE",
            f"the key signed the entry at log index {later[-1]}",
            f"nothing after index {told.last_valid_index}, as the keyring would say",
            "draft the rotation again, and let the runner rest until it is installed",
        )


def _ends_speaker(voice: Registrar, told: KeyEvent) -> bool:
    """Tell whether the home's own runner is revoked, or is by this event: what it has open, it can never close."""
    runner = voice.domain.runner
    return runner.last_valid_index is not None or (told.event == "revoked" and told.key_id == runner.key.key_id)


def _forget_batch(home: Path) -> None:
    """Forget an unfinished batch whose key was revoked: no other key can finish it."""
    with disk_errors(_BATCH):
        (home / _BATCH).unlink(missing_ok=True)


def _bring_successor(voice: Registrar, told: KeyEvent, successor: FileSigner | None, unlock: Unlock) -> None:
    """Return when the key file of a successor of the home's own runner is in the home."""
    if told.successor is None or told.name != voice.domain.runner.name:
        return
    path = runner_key_path(voice.domain.home, told.successor)
    if successor is not None:
        save_key(successor, path, successor_passphrase(voice.domain.home, voice.domain.keyring, unlock))
    if not path.exists():
        raise RecordUnsound(
            code="KEY_MISSING",
            observed=f"no {path.name} in this home's keys",
            expected="the key file of the runner's successor",
            hint=f"move it to keys/{path.name}, mode 0600, and install again",
        )


def _event_index(home: Path) -> int:
    names = sorted(path.name for path in (home / KEY_EVENTS).glob(f"*-{KEY_EVENT}.sigstore.json"))
    return int(names[-1].split("-", 1)[0])


def _unfit(code: str, observed: str, expected: str, hint: str) -> UsageError:
    return UsageError(code=code, observed=observed, expected=expected, hint=hint)
