"""What one `jouleseal run` was given, kept until its bundle is written: all state that is not a signed statement."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.disk import disk_errors, write_atomic
from protocol.attestation.fields import Fields
from protocol.attestation.jcs import dumps, loads_canonical
from protocol.errors import RecordUnsound, VerificationError

MAX_CAMPAIGNS = 256  # submissions in one command


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The keys of the submissions in order, and the ids of the plans that were logged for the first of them."""

    keys: tuple[str, ...]
    plans: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BatchFile:
    """The file in which the unfinished batch is kept."""

    path: Path

    def read(self) -> Batch | None:
        """Return the unfinished batch, None where there is none."""
        with disk_errors(self.path.name):
            if not self.path.exists():
                return None
            data = self.path.read_bytes()
        try:
            fields = Fields(loads_canonical(data), "batch")
            batch = Batch(
                keys=fields.texts("keys", limit=MAX_CAMPAIGNS), plans=fields.texts("plans", limit=MAX_CAMPAIGNS)
            )
            fields.done()
        except VerificationError as error:
            raise RecordUnsound(
                code="BATCH_DAMAGED",
                observed=f"{self.path.name}: {error.observed}",
                expected=error.expected,
                hint="run again with --abandon-open: what was measured stays in the log",
            ) from error
        return batch

    def write(self, batch: Batch) -> None:
        """Keep the batch."""
        write_atomic(self.path, dumps({"keys": list(batch.keys), "plans": list(batch.plans)}))

    def clear(self) -> None:
        """Forget the batch."""
        with disk_errors(self.path.name):
            self.path.unlink(missing_ok=True)
