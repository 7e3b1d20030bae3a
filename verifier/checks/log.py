"""Check 5: the tiles hash to the root of the final checkpoint, which the log signed and a quorum cosigned."""

from __future__ import annotations

from datetime import UTC, datetime

from protocol.attestation.bundle import CHECKPOINT_PATH, BundleFiles
from protocol.tlog.entry import SeenCheckpoint, open_checkpoint
from protocol.tlog.policy import Policy
from protocol.tlog.tiles import view_log
from verifier.demands import Demands
from verifier.facts import Final, Witnessed
from verifier.walk import Established, false

MAX_TIMESTAMP = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())


def check(files: BundleFiles, policy: Policy, demands: Demands) -> Established[Final]:
    """Return the log's final state; with `--as-of`, nothing may have been witnessed after that moment."""
    seen = open_checkpoint(files[CHECKPOINT_PATH], policy)
    witnessed = quorum_times(seen, policy, CHECKPOINT_PATH)
    view = view_log(files.tiles(), seen.checkpoint)
    if demands.as_of is not None and witnessed.earliest > demands.as_of:
        raise false(
            "WITNESSED_LATER",
            observed=f"a checkpoint that was witnessed at {witnessed.earliest.isoformat()}",
            expected=f"nothing after {demands.as_of.isoformat()}, as --as-of asks",
            hint="this bundle did not exist at that time; leave out --as-of to judge it at its own",
        )
    names = ", ".join(sorted(line.name for line in seen.cosigned))
    entries = f"{len(view.entries)} entries hash to the root of size {view.checkpoint.size}"
    detail = f"{entries}, signed by {policy.log.name}, cosigned by {names}"
    judged_at = demands.as_of or witnessed.latest
    return Established(Final(seen=seen, view=view, witnessed=witnessed, judged_at=judged_at), detail)


def quorum_times(seen: SeenCheckpoint, policy: Policy, where: str) -> Witnessed:
    """Return when a checkpoint was witnessed; raises VerificationError QUORUM where too few witnesses cosigned it."""
    times = [line.timestamp for line in seen.cosigned if line.timestamp is not None]
    if not seen.has_quorum(policy) or not times:
        raise false(
            "QUORUM",
            observed=f"the checkpoint in {where} is cosigned by {len(times)} of {len(policy.witnesses)} witnesses",
            expected=f"the quorum {policy.quorum} of the policy, each witness counted once",
        )
    if max(times) > MAX_TIMESTAMP:
        raise false(
            "WITNESS_TIME", observed=f"a cosignature of the time {max(times)}", expected="a time before the year 10000"
        )
    return Witnessed(earliest=datetime.fromtimestamp(min(times), UTC), latest=datetime.fromtimestamp(max(times), UTC))
