"""`jouleseal report BUNDLE --out DIR`: the evidence of a bundle as a page with the power of every run.

The page repeats and draws what the bundle holds; it verifies nothing, and says so.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from orchestrator.disk import disk_errors, make_folder, write_atomic
from orchestrator.report.page import INDEX, pages
from orchestrator.results import read_campaign
from protocol.attestation.bundle import read_bundle

# Pictures of an earlier report in the same folder; nothing else is ever removed.
_PICTURE = re.compile(r"session-[0-9]{2,4}(-run-[0-9]{2,3})?\.svg", re.ASCII)


def run(arguments: argparse.Namespace) -> int:
    """Write the pages of one campaign into a folder."""
    files = read_bundle(arguments.bundle)
    campaign = read_campaign(files, arguments.campaign)
    make_folder(arguments.out)
    written = []
    for name, text in pages(files, campaign):
        write_atomic(arguments.out / name, text.encode("utf-8"))
        written.append(name)
    _remove_others(arguments.out, frozenset(written))
    index = arguments.out / INDEX
    said = {"report": str(index), "pictures": len(written) - 1, "model": campaign.plan.submission.model}
    if arguments.json:
        print(json.dumps({**said, "verified": False}, indent=2))
    else:
        print(f"report  {index}   {len(written) - 1} pictures; nothing was verified")
    return 0


def _remove_others(folder: Path, written: frozenset[str]) -> None:
    with disk_errors(folder.name):
        for path in sorted(folder.iterdir()):
            if _PICTURE.fullmatch(path.name) and path.name not in written:
                path.unlink()
