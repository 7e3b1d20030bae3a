"""Keeps a published bundle: `python -m tests.museum NAME BUNDLE ROOT` puts it here with the verdict that it must get.

The verdict is today's verifier's, and is written once: a sample that is here already is left alone, and the tests hold
every later verifier to it. The evil twins of each sample (`twins`) are made from it, never kept.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from protocol.errors import UsageError
from verifier.demands import Demands, root_pin
from verifier.report import Status, VerificationReport
from verifier.verify import verify_path

MUSEUM = Path(__file__).parent


def verdict_of(report: VerificationReport) -> dict:
    """Return what a sample is held to: verdict, tier, flags, and what could not be checked from a bundle alone."""
    return {
        "verdict": report.verdict.value,
        "tier": report.tier,
        "certifiable": report.certifiable,
        "flags": list(report.flags),
        "notChecked": [result.check for result in report.checks if result.status is Status.NOT_CHECKED],
        "failed": sorted({result.code for result in report.checks if result.status is Status.FAILED}),
    }


def keep(name: str, bundle: Path, root: Path) -> Path:
    """Put a bundle into the museum and return its folder; UsageError where that name is taken."""
    folder = MUSEUM / name
    if folder.exists():
        raise UsageError(observed=f"{name} is taken", expected="a new name", hint="a sample is never replaced")
    found = verdict_of(verify_path(bundle, Demands(root=root_pin(str(root)))))
    folder.mkdir()
    shutil.copyfile(bundle, folder / "bundle.tar")
    shutil.copyfile(root, folder / "root.json")
    (folder / "verdict.json").write_text(json.dumps(found, indent=2) + "\n")
    return folder


if __name__ == "__main__":
    print(keep(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
