"""Pieces of a page that is HTML to a browser and XML to a parser: every text and attribute is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

STYLE = """
:root{color-scheme:light dark;--paper:#f4f5f6;--card:#fff;--ink:#1a1a1a;--soft:#595959;--rule:#d4d4d4;--note:#fff4d6;
--edge:#b98900;--bad:#a3142e;--link:#0b4f8a}
@media (prefers-color-scheme:dark){:root{--paper:#0e1013;--card:#16191d;--ink:#ececec;--soft:#b4b8bd;--rule:#3a4047;
--note:#2e2710;--edge:#d9a92b;--bad:#ff9aa8;--link:#7fb9ee}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,Helvetica,Arial,sans-serif}
main,header,footer{max-width:1200px;margin:0 auto;padding:0 16px}
header{padding-top:24px}footer{padding-bottom:40px;color:var(--soft);font-size:14px}
h1{font-size:28px;line-height:1.2;margin:0 0 4px}h2{font-size:22px;margin:40px 0 8px}
h3{font-size:18px;margin:28px 0 8px}
h1,h2,h3,p,dd,li,td{overflow-wrap:anywhere}a{color:var(--link)}p{margin:8px 0;max-width:78ch}
.soft{color:var(--soft)}.bad{color:var(--bad);font-weight:600}.big{font-size:30px;font-weight:700;line-height:1.2;
margin:12px 0 0}
.note{background:var(--note);border:2px solid var(--edge);border-radius:8px;padding:8px 16px;margin:16px 0}
.kind{display:inline-block;border:1.5px solid currentColor;border-radius:4px;padding:0 8px;font-size:14px;
font-weight:700;text-transform:uppercase;letter-spacing:.04em;vertical-align:middle}.kind.model{border-style:dashed}
code{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
pre{white-space:pre-wrap;margin:8px 0}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--rule);border-radius:8px;margin:8px 0}
table{border-collapse:collapse;width:100%;font-size:15px;font-variant-numeric:tabular-nums}
caption{text-align:left;padding:10px 12px;color:var(--soft)}
th,td{padding:6px 12px;text-align:right;border-top:1px solid var(--rule);vertical-align:top;white-space:nowrap}
th:first-child,td:first-child{text-align:left}table.text th,table.text td{text-align:left;white-space:normal}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(480px,100%),1fr));gap:16px;margin:16px 0}
figure{margin:0;background:var(--card);border:1px solid var(--rule);border-radius:8px;overflow:hidden}
figure img{display:block;width:100%;height:auto}
dl{display:grid;grid-template-columns:minmax(120px,max-content) 1fr;gap:4px 16px;margin:8px 0}
dt{color:var(--soft)}dd{margin:0}summary{cursor:pointer;padding:6px 0}
@media (max-width:600px){body{font-size:15px}h1{font-size:24px}.big{font-size:25px}dl{grid-template-columns:1fr}
dd{margin-bottom:6px}figure{margin:0 -8px}th,td{padding:6px 8px}}
@media print{:root{--paper:#fff;--card:#fff;--ink:#000;--soft:#333;--rule:#bbb;--note:#fff;--edge:#000;--bad:#000;
--link:#000}body{font-size:11pt}table{font-size:9pt}th,td{padding:3px 6px}
.plots{grid-template-columns:1fr 1fr}figure,tr,.note{break-inside:avoid}
h2,h3{break-after:avoid}.scroll{overflow:visible}}
""".strip()

# Nothing is fetched and nothing runs, whatever a name in the bundle tries; pictures lie beside the page.
_POLICY = "default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def text(value: str) -> str:
    """Return a text's markup."""
    return escape(value)


def tag(name: str, *inside: str, **attributes: str) -> str:
    """Return an element around markup; `class_` stands for `class`, and underscores for dashes."""
    named = "".join(
        f" {key.rstrip('_').replace('_', '-')}={quoteattr(value)}" for key, value in attributes.items() if value
    )
    return f"<{name}{named}>{''.join(inside)}</{name}>"


def words(name: str, value: str, **attributes: str) -> str:
    """Return an element around a text."""
    return tag(name, text(value), **attributes)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str, class_: str = "") -> str:
    """Return a table of texts that scrolls by itself where it is wider than the page."""
    top = tag("tr", *(words("th", cell, scope="col") for cell in head))
    body = [tag("tr", words("th", row[0], scope="row"), *(words("td", cell) for cell in row[1:])) for row in rows]
    inside = tag("table", words("caption", caption), tag("thead", top), tag("tbody", *body), class_=class_)
    return tag("div", inside, class_="scroll", tabindex="0", role="region", aria_label=caption)


def facts(pairs: Mapping[str, str]) -> str:
    """Return names with their values."""
    return tag("dl", *(words("dt", name) + words("dd", value) for name, value in pairs.items()))


def figure(file: str, alt: str, width: int) -> str:
    """Return a figure of an SVG beside the page, which leads to the file itself."""
    shown = f"<img src={quoteattr(file)} alt={quoteattr(alt)} width={quoteattr(str(width))} loading='lazy'/>"
    return tag("figure", tag("a", shown, href=file))


def document(title: str, body: str) -> str:
    """Return a whole page."""
    return (
        '<!DOCTYPE html>\n<html xmlns="http://www.w3.org/1999/xhtml" lang="en"><head><meta charset="utf-8"/>'
        f'<meta http-equiv="Content-Security-Policy" content={quoteattr(_POLICY)}/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/><meta name="referrer" '
        f'content="no-referrer"/>{words("title", title)}<style>{STYLE}</style></head>\n<body>{body}</body></html>\n'
    )
