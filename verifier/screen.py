"""The report for people: what was checked, what failed and what to do, who signed, and the figures on their two lists.

Everything that came out of a bundle is printed as plain text with control characters made visible, so that a bundle
cannot colour its own verdict or rewrite the screen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from verifier.report import CheckResult, Status, Verdict, VerificationReport

_MARKS = {
    Status.PASSED: ("passed     ", "green"),
    Status.FAILED: ("FAILED     ", "bold red"),
    Status.NOT_CHECKED: ("not checked", "yellow"),
}
_VERDICTS = {
    Verdict.VERIFIED: ("VERIFIED", "bold green"),
    Verdict.FALSE: ("FALSE", "bold red"),
    Verdict.UNJUDGED: ("CANNOT BE JUDGED", "bold yellow"),
}


def show_report(report: VerificationReport, console: Console | None = None) -> None:
    """Print a report; the last line is the verdict."""
    out = console or _console()
    for result in report.checks:
        _show_check(out, result)
    if report.verdict is Verdict.VERIFIED:
        _show_figures(out, report)
        _show_trust(out, report)
    word, style = _VERDICTS[report.verdict]
    line = Text.assemble("\n", (word, style))
    if report.verdict is Verdict.VERIFIED:
        certifiable = "certifiable" if report.certifiable else "not certifiable"
        line.append(f"  tier {report.tier}, {certifiable}; root {report.root}")
    elif report.verdict is Verdict.FALSE:
        line.append("  do not rely on anything in this bundle")
    else:
        line.append("  a newer verifier may be able to")
    out.print(line)


def show_inspection(seen: Mapping[str, Any], console: Console | None = None) -> None:
    """Print what a bundle says about itself, under a heading that says that none of it was verified."""
    out = console or _console()
    out.print(
        Text("NOT VERIFIED: this is what the bundle says about itself; none of it was checked.\n", style="bold yellow")
    )
    _show_tree(out, seen, 0)
    out.print(Text("\nNOT VERIFIED. To verify: jouleseal-verify BUNDLE --root ROOT", style="bold yellow"))


def printable(text: str) -> str:
    """Return `text` with every character that could steer a terminal written as its escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True, emoji=False, markup=False)


def _show_check(out: Console, result: CheckResult) -> None:
    word, style = _MARKS[result.status]
    line = Text.assemble((word, style), "  ", (f"{result.check:<15}", "bold"))
    if result.code:
        line.append(f"{printable(result.code)}")
        out.print(line)
        for label, text in (("found", result.observed), ("expected", result.expected), ("next", result.next)):
            out.print(Text(f"{'':13}{label + ':':<10}{printable(text)}"))
        return
    line.append(printable(result.detail))
    out.print(line)


def _show_figures(out: Console, report: VerificationReport) -> None:
    for campaign, cells in report.figures.items():
        out.print(Text(f"\n{printable(report.campaigns.get(campaign, ''))}", style="bold"))
        for cell, figures in cells.items():
            table = Table(title=printable(cell), title_justify="left", box=None, pad_edge=False)
            table.add_column("figure", no_wrap=True)
            table.add_column("value", no_wrap=True)
            table.add_column("list", no_wrap=True)
            for name, value in figures.recomputed.items():
                table.add_row(printable(name), printable(value), "recomputed")
            for name, value in figures.committed.items():
                table.add_row(printable(name), printable(value), "committed, not checked")
            out.print(table)


def _show_trust(out: Console, report: VerificationReport) -> None:
    out.print()
    for signer in report.signers:
        many = f"{signer.statements} statements" if signer.role == "runner" else "the log's checkpoints"
        out.print(Text(f"signed by   {signer.role} {printable(signer.name)} ({many}), key {signer.key_id}"))
    out.print(Text(f"witnessed   {printable(report.quorum)}, judged at {report.judged_at}"))
    if report.flags:
        out.print(Text(f"flags       {printable(', '.join(report.flags))}"))


def _show_tree(out: Console, node: Any, depth: int) -> None:  # noqa: ANN401 - any JSON
    indent = "  " * depth
    if isinstance(node, Mapping):
        for key, value in node.items():
            if isinstance(value, Mapping | list) and value:
                out.print(Text(f"{indent}{printable(str(key))}:"))
                _show_tree(out, value, depth + 1)
            else:
                out.print(Text(f"{indent}{printable(str(key))}: {printable(str(value))}"))
        return
    for item in node:
        if isinstance(item, Mapping | list):
            out.print(Text(f"{indent}-"))
            _show_tree(out, item, depth + 1)
        else:
            out.print(Text(f"{indent}- {printable(str(item))}"))
