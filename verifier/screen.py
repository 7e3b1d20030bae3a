"""The report for people: what was checked, what failed and what to do, who signed, and the figures on their two lists.

Rules:
1. Everything that came out of a bundle is printed with its control characters made visible, so that a bundle cannot
   colour its own verdict or rewrite the screen.
2. The last line is the verdict. Colour repeats what a word says, and is left out where nobody asked for it.
3. Plain text only: the verifier runs where there is nothing but Python and `cryptography`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, Final, TextIO

from verifier.report import CellFigures, CheckResult, Status, Verdict, VerificationReport

_GREEN, _RED, _YELLOW, _BOLD = "32", "1;31", "33", "1"
_MARKS: Final = {
    Status.PASSED: ("passed", _GREEN),
    Status.FAILED: ("FAILED", _RED),
    Status.NOT_CHECKED: ("not checked", _YELLOW),
}
_VERDICTS: Final = {
    Verdict.VERIFIED: ("VERIFIED", "1;32"),
    Verdict.FALSE: ("FALSE", _RED),
    Verdict.UNJUDGED: ("CANNOT BE JUDGED", "1;33"),
}
_MARK_WIDTH: Final = 13
_CHECK_WIDTH: Final = 16
_LABEL_WIDTH: Final = 10


def show_report(report: VerificationReport, out: TextIO | None = None) -> None:
    """Print a report; the last line is the verdict."""
    screen = _Screen(out or sys.stdout)
    for result in report.checks:
        _show_check(screen, result)
    if report.verdict is Verdict.VERIFIED:
        _show_figures(screen, report)
        _show_trust(screen, report)
    word, style = _VERDICTS[report.verdict]
    screen.line()
    screen.line(screen.styled(word, style) + "  " + _consequence(report))


def show_inspection(seen: Mapping[str, Any], out: TextIO | None = None) -> None:
    """Print what a bundle says about itself, under a heading that says that none of it was verified."""
    screen = _Screen(out or sys.stdout)
    told = {name: value for name, value in seen.items() if name not in {"notice", "verified"}}
    screen.line(screen.styled(f"{seen['notice']}.", _YELLOW))
    screen.line()
    _show_tree(screen, told, "")
    screen.line()
    screen.line(screen.styled("NOT VERIFIED. To verify: jouleseal-verify BUNDLE --root ROOT", _YELLOW))


def show_verdict(told: Mapping[str, Any], out: TextIO | None = None) -> None:
    """Print another verifier's verdict, which a listed key signed and which passed."""
    screen = _Screen(out or sys.stdout)
    _show_tree(screen, told, "")
    screen.line()
    screen.line(screen.styled("ACCEPTED", "1;32") + "  a listed verifier signed this; you have not verified the bundle")


def printable(text: str) -> str:
    """Return `text` with every character that could steer a terminal written as its escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class _Screen:
    """Where lines go, and whether they may be coloured (https://no-color.org)."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._colours = out.isatty() and not os.environ.get("NO_COLOR")

    def styled(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self._colours else text

    def line(self, text: str = "") -> None:
        print(text, file=self._out)


def _consequence(report: VerificationReport) -> str:
    if report.verdict is Verdict.FALSE:
        return "do not rely on anything in this bundle"
    if report.verdict is Verdict.UNJUDGED:
        return "a newer verifier may be able to"
    certifiable = "certifiable" if report.certifiable else "not certifiable"
    return f"tier {report.tier}, {certifiable}; root {report.root}"


def _show_check(screen: _Screen, result: CheckResult) -> None:
    word, style = _MARKS[result.status]
    head = screen.styled(word, style) + " " * (_MARK_WIDTH - len(word))
    head += screen.styled(result.check, _BOLD) + " " * (_CHECK_WIDTH - len(result.check))
    if not result.code:
        screen.line(head + printable(result.detail))
        return
    screen.line(head + printable(result.code))
    for label, text in (("found", result.observed), ("expected", result.expected), ("next", result.next)):
        screen.line(" " * _MARK_WIDTH + f"{label + ':':<{_LABEL_WIDTH}}{printable(text)}")


def _show_figures(screen: _Screen, report: VerificationReport) -> None:
    for campaign, cells in report.figures.items():
        screen.line()
        screen.line(screen.styled(printable(report.campaigns[campaign]), _BOLD))
        for cell, figures in cells.items():
            screen.line(f"  {printable(cell)}")
            _show_cell(screen, figures)


def _show_cell(screen: _Screen, figures: CellFigures) -> None:
    rows = [(name, value, "recomputed") for name, value in figures.recomputed.items()]
    rows += [(name, value, "committed, not checked") for name, value in figures.committed.items()]
    shown = [tuple(map(printable, row)) for row in rows]
    names, values = (max(len(row[column]) for row in shown) for column in (0, 1))
    for name, value, where in shown:
        screen.line(f"    {name:<{names}}  {value:<{values}}  {where}")


def _show_trust(screen: _Screen, report: VerificationReport) -> None:
    screen.line()
    for signer in report.signers:
        many = f"{signer.statements} statements" if signer.role == "runner" else "the log's checkpoints"
        screen.line(f"signed by   {signer.role} {printable(signer.name)} ({many}), key {signer.key_id}")
    screen.line(f"witnessed   {printable(report.quorum)}, judged at {report.judged_at}")
    if report.flags:
        screen.line(f"flags       {printable(', '.join(report.flags))}")


def _show_tree(screen: _Screen, node: Any, indent: str) -> None:  # noqa: ANN401 - any JSON
    items = node.items() if isinstance(node, Mapping) else (("-", item) for item in node)
    for key, value in items:
        label = key if key == "-" else f"{printable(str(key))}:"
        if isinstance(value, Mapping | list) and value:
            screen.line(indent + label)
            _show_tree(screen, value, indent + "  ")
        else:
            screen.line(f"{indent}{label} {printable(str(value))}")
