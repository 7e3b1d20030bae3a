"""The label of one result, as SVG: what was measured, how well it is known, and a code that leads to the manifest.

Rules:
1. A figure that was estimated or simulated says so beside the figure, not in a footnote.
2. A result that is not certifiable has a dashed border and says it in words, so that it differs in grey at a glance.
3. The QR code is `jouleseal:sha256:<hex>`: the identity (SHA-256 of the DSSE pre-authentication encoding) of the
   campaign-result statement. It resolves offline, against a bundle.
4. Text is text: it can be read aloud, searched and copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

import segno

WIDTH = 480
_MARGIN = 24
_LINE = 20
_ROW = 62
_QR_SIZE = 116  # at 300 dpi and 45 mm width, one module of the code is 0.4 mm: readable by a phone
_TITLE_CHARS = 30  # of 24 px text, and
_VENDOR_CHARS = 32  # of 13 px text beside date and class, in the width between the margins; the title has all of it
_DARK = "#1a1a1a"
_GREY = "#595959"  # 7.0:1 on white: WCAG AAA for text


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRow:
    """One cell: `energy` and `interval` are decimal strings in Wh per 1,000 queries, `kind` and `scope` say of what."""

    task: str
    setting: str
    energy: str
    interval: str | None
    kind: str
    scope: str
    quality: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFacts:
    """What a label says; `statement` is the hex identity of the campaign-result statement."""

    vendor: str
    model: str
    date: str
    hardware_class: str
    method: str
    tier: str
    official: bool
    certifiable: bool
    rows: tuple[LabelRow, ...]
    statement: str


def code_text(statement: str) -> str:
    """Return the text in the QR code of a campaign-result statement."""
    return f"jouleseal:sha256:{statement}"


def render(facts: LabelFacts) -> str:
    """Return the label as an SVG document."""
    body = 96 + _ROW * len(facts.rows)
    height = body + _QR_SIZE + 2 * _MARGIN + 16
    title = f"Energy label of {facts.model} by {facts.vendor}"
    words = " ".join(f"{row.task}, {row.setting}: {row.energy} Wh per 1,000 queries, {row.kind}." for row in facts.rows)
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
            f' role="img" aria-labelledby="title desc" font-family="Helvetica, Arial, sans-serif" fill="{_DARK}">'
        ),
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="desc">{escape(words)} {escape(_standing(facts))}</desc>',
        _border(height, certifiable=facts.certifiable),
        _text(_MARGIN, 46, _fitting(facts.model, _TITLE_CHARS), size=24, weight="bold"),
        _text(
            _MARGIN,
            68,
            f"{_fitting(facts.vendor, _VENDOR_CHARS)} · {facts.date} · class {facts.hardware_class}",
            size=13,
            fill=_GREY,
        ),
        _text(WIDTH - _MARGIN, 88, "Wh per 1,000 queries", size=12, fill=_GREY, anchor="end"),
        *(_row(row, 96 + _ROW * number) for number, row in enumerate(facts.rows)),
        _code(facts.statement, _MARGIN, body + _MARGIN),
        *_foot(facts, _MARGIN * 2 + _QR_SIZE, body + _MARGIN + 14),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _fitting(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _standing(facts: LabelFacts) -> str:
    if facts.certifiable:
        return f"Certifiable, tier {facts.tier}"
    return f"NOT CERTIFIABLE, tier {facts.tier}" + ("" if facts.official else ", shortened run (unofficial)")


def _border(height: int, *, certifiable: bool) -> str:
    dash = "" if certifiable else ' stroke-dasharray="10 5"'
    return (
        f'<rect x="6" y="6" width="{WIDTH - 12}" height="{height - 12}" rx="10" fill="#ffffff"'
        f' stroke="{_DARK}" stroke-width="4"{dash}/>'
    )


def _row(row: LabelRow, top: int) -> str:
    interval = f" ± {row.interval}" if row.interval else ""
    return "\n".join(
        [
            f'<line x1="{_MARGIN}" y1="{top}" x2="{WIDTH - _MARGIN}" y2="{top}" stroke="#bfbfbf"/>',
            _text(_MARGIN, top + 19, row.task, size=15),
            _text(_MARGIN, top + 36, row.setting, size=12, fill=_GREY),
            _text(_MARGIN, top + 53, row.quality, size=12, fill=_GREY),
            _text(WIDTH - _MARGIN, top + 19, f"{row.energy}{interval}", size=17, weight="bold", anchor="end"),
            _text(WIDTH - _MARGIN, top + 36, f"{row.kind} ({row.scope})", size=12, fill=_GREY, anchor="end"),
        ]
    )


def _foot(facts: LabelFacts, left: int, top: int) -> list[str]:
    lines = [
        _text(left, top, _standing(facts), size=13, weight="bold"),
        _text(left, top + _LINE, f"method {facts.method}", size=12, fill=_GREY),
        _text(left, top + 2 * _LINE, "result statement, SHA-256", size=12, fill=_GREY),
    ]
    half = len(facts.statement) // 2
    for number, piece in enumerate((facts.statement[:half], facts.statement[half:])):
        lines.append(_text(left, top + (3 + number) * _LINE - 2, piece, size=11, family="monospace"))
    return lines


def _code(statement: str, left: int, top: int) -> str:
    code = segno.make(code_text(statement), error="m", micro=False)
    modules = code.symbol_size(scale=1, border=0)[0]
    # One path of horizontal runs: small, and crisp at any size.
    runs: list[str] = []
    for y, line in enumerate(code.matrix):
        x = 0
        while x < modules:
            length = 0
            while x + length < modules and line[x + length]:
                length += 1
            if length:
                runs.append(f"M{x} {y}h{length}v1h-{length}z")
            x += length or 1
    scale = _QR_SIZE / modules
    return (
        f'<g transform="translate({left} {top}) scale({scale:.4f})" shape-rendering="crispEdges">'
        f'<title>{escape(code_text(statement))}</title><path d="{"".join(runs)}"/></g>'
    )


def _text(x: int, y: int, text: str, *, size: int, **style: str) -> str:
    names = {"weight": "font-weight", "fill": "fill", "anchor": "text-anchor", "family": "font-family"}
    attributes = "".join(f" {names[key]}={quoteattr(value)}" for key, value in style.items())
    return f'<text x="{x}" y="{y}" font-size="{size}"{attributes}>{escape(text)}</text>'
