"""The colours and strokes of a picture: literal ones first, so that any SVG viewer shows them, then for dark and print.

On the paper and on a run's shade text keeps 4.5:1 and curves 3:1 (WCAG 2.2, 1.4.3 and 1.4.11); curves differ by
stroke as well.
"""

from __future__ import annotations

from typing import Final

LIGHT: Final = {
    "paper": "#ffffff",
    "ink": "#1a1a1a",
    "soft": "#595959",
    "rule": "#d4d4d4",
    "run": "#e4edf6",
    "main": "#0b4f8a",
    "mean": "#b8540a",
    "dot": "#7d7d7d",
    "idle": "#2f6b3a",
    "bad": "#a3142e",
}
DARK: Final = {
    "paper": "#16191d",
    "ink": "#ececec",
    "soft": "#b4b8bd",
    "rule": "#3a4047",
    "run": "#22303f",
    "main": "#7fb9ee",
    "mean": "#f0a35e",
    "dot": "#9a9fa6",
    "idle": "#8fce9a",
    "bad": "#ff9aa8",
}

# Which colour each class has, and as what.
_FILLS = {"text": "ink", ".s": "soft", ".bad": "bad", ".paper": "paper", ".run": "run", ".band": "idle", ".tick": "ink"}
_STROKES = {
    ".rule": "rule",
    ".frame": "soft",
    ".kind": "ink",
    ".mark": "ink",
    ".tick": "paper",
    ".steps": "main",
    ".line": "mean",
    ".dots": "dot",
    ".idle": "idle",
    ".hatch": "soft",
    ".event": "bad",
    ".light": "soft",
    ".place": "ink",
}

_SHAPES = """
text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,Helvetica,Arial,sans-serif}
.t{font-size:18px;font-weight:700}.f{font-size:14px}.b{font-weight:700}.e{text-anchor:end}.m{text-anchor:middle}
.rule,.frame,.kind,.mark,.steps,.line,.dots,.idle,.event,.light,.place{fill:none;stroke-width:1}
.kind,.idle{stroke-width:1.5}.mark{stroke-width:1.2}.tick{stroke-width:.8}.event{stroke-width:2;stroke-dasharray:6 3}
.steps{stroke-width:1.7;stroke-linejoin:round;stroke-linecap:round}
.line{stroke-width:1.3;stroke-linejoin:round;stroke-dasharray:5 2}
.dots{stroke-width:1.8;stroke-linecap:round;opacity:.7}.idle{stroke-dasharray:1.5 3}.band{opacity:.16}
.hatch{fill:url(#hatch);stroke-width:.6}.place{stroke-width:3}
"""


def _colours(palette: dict[str, str]) -> str:
    fills = "".join(f"{name}{{fill:{palette[colour]}}}" for name, colour in _FILLS.items())
    return fills + "".join(f"{name}{{stroke:{palette[colour]}}}" for name, colour in _STROKES.items())


_SCREEN = "screen and (prefers-color-scheme:dark)"  # what is printed stays light
STYLE: Final = f"{_colours(LIGHT)}{_SHAPES}@media {_SCREEN}{{{_colours(DARK)}}}"
