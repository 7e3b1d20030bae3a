"""The report's pages: one campaign as `index.html`, and a picture of every run and of every session's record.

The page verifies nothing and says so first. It shows what the bundle says, draws what the records hold, and says of
every session whether the figures that follow from its evidence are the signed ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from orchestrator import __version__
from orchestrator.report.chapter import MAX_FACTS, Shown, chapter
from orchestrator.report.markup import document, facts, table, tag, text, words
from orchestrator.report.words import BLAMES, DASH, FLAGS, UNKNOWN_FLAG, clean, rounded, short
from orchestrator.results import Campaign
from protocol.attestation.bundle import BundleFiles
from protocol.attestation.claims import CellResult, PlanCell
from protocol.attestation.jcs import Json, dumps
from protocol.attestation.predicates import CampaignPlan
from protocol.methodology.figures import STATISTIC
from protocol.units import decimal_string, from_decimal

INDEX: Final = "index.html"
_HEADLINE: Final = "itEnergyWhPer1000Queries"
_DEPTH: Final = 4


def pages(files: BundleFiles, campaign: Campaign) -> Iterator[tuple[str, str]]:
    """Yield every file of a campaign's report by name, the page last; one record is in memory at a time."""
    shown: dict[str, Shown] = {}
    for number, session in enumerate(campaign.sessions, start=1):
        pictures: dict[str, str] = {}
        shown[session.statement_id] = chapter(files, campaign, session, number, pictures)
        yield from pictures.items()
    yield INDEX, _index(campaign, shown)


def _index(campaign: Campaign, shown: Mapping[str, Shown]) -> str:
    plan = campaign.plan
    name = clean(f"{plan.submission.model} {plan.submission.model_version}")
    vendor = clean(plan.submission.vendor)
    title = f"Evidence of {name} by {vendor}"
    scale = "full measurement" if plan.official else "shortened measurement (unofficial)"
    head = [
        words("h1", title),
        words("p", f"{scale}, hardware class {clean(plan.hardware_class)}, {clean(plan.method)}", class_="soft"),
        _notice(),
    ]
    body = [*_result(campaign)]
    for cell in plan.cells:
        body += _cell(campaign, cell, shown)
    body += [*_story(campaign), *_environment(campaign, shown)]
    foot = words("p", f"Drawn by jouleseal {__version__} from the bundle alone; the same bundle gives the same bytes.")
    inside = tag("header", *head) + tag("main", *body) + tag("footer", foot)
    return document(title, inside)


def _notice() -> str:
    return tag(
        "div",
        tag(
            "p",
            words("strong", "This page verifies nothing."),
            text(
                " It shows what a bundle says and draws the records in it. Whether any of it is true, this finds out:"
            ),
        ),
        tag("pre", words("code", "jouleseal-verify bundle.tar --root root.json")),
        words("p", "Take root.json from its owner, not from where the bundle came from."),
        class_="note",
        role="note",
    )


# The result


def _result(campaign: Campaign) -> Iterator[str]:
    yield words("h2", "Result")
    result = campaign.result
    if result is None:
        yield words("p", "The bundle has no result of this campaign: it was not closed.", class_="bad")
        return
    if result.failure is not None:
        blame = BLAMES[result.failure.blame]
        yield words("p", f"The campaign failed: {clean(result.failure.code)} ({blame}).", class_="bad")
    yield words("p", "Certifiable, if it verifies." if result.certifiable else "Not certifiable.", class_="big")
    if result.flags:
        rows = [(clean(flag), FLAGS.get(flag, UNKNOWN_FLAG)) for flag in result.flags]
        yield table(("flag", "what it says"), rows, caption="Open flags, each of which would be enough", class_="text")


def _cell(campaign: Campaign, cell: PlanCell, shown: Mapping[str, Shown]) -> Iterator[str]:
    batch = f"batches of {cell.batch}" if cell.batch > 1 else "one at a time"
    yield words("h2", f"{clean(cell.task)}, {clean(cell.scenario)}, {clean(cell.precision)}")
    points = f"{cell.points:,} points of {clean(cell.dataset.name)}, {batch}, {cell.runs} runs planned"
    yield words("p", points, class_="soft")
    closing = campaign.result.cells if campaign.result is not None else ()
    found = next((one for one in closing if one.cell_id == cell.cell_id), None)
    if found is not None:
        yield from _headline(found)
    else:
        yield words("p", "No figure was published for this cell.", class_="bad")
    for session in campaign.sessions:
        if session.outcome.cell == cell.cell_id:
            yield shown[session.statement_id].markup
    if found is not None:
        yield _all_figures(found)


def _headline(found: CellResult) -> Iterator[str]:
    figures = found.recomputed
    kind = clean(figures.get("energyKind", "unmeasured"), 24)
    badge = words("span", kind, class_="kind" if kind == "measured" else "kind model")
    spread = figures.get(f"{_HEADLINE}Interval95")
    yield tag("p", text(f"{_with(figures.get(_HEADLINE), spread)} Wh "), badge, class_="big")
    said = ["per 1,000 queries", f"of {clean(figures.get('energyScope', 'nothing'))}"]
    if spread:
        said.append(f"with the 95 % interval of the runs' mean ({STATISTIC})")
    doubt = short(figures.get("gpuEnergyUncertaintyWhPer1000Queries"), 3)
    if doubt != DASH:
        said.append(f"; the accelerators' part is known to ± {doubt} Wh (k = 2)")
    yield words("p", f"{' '.join(said).replace(' ;', ';')}.", class_="soft")
    quality = ", ".join(f"{clean(name)} {short(value)}" for name, value in found.committed.items())
    yield words("p", f"Committed by the operator, not recomputable: {quality or 'nothing'}.")


def _with(energy: str | None, interval: str | None) -> str:
    """Return an energy to four significant digits with its interval to as many places."""
    try:
        size, spread = from_decimal(energy or ""), None if interval is None else from_decimal(interval)
    except ValueError:
        return DASH
    shown = rounded(size)
    places = len(shown.partition(".")[2])
    return shown if spread is None else f"{shown} ± {decimal_string(spread, places)}"


def _all_figures(found: CellResult) -> str:
    rows = [(clean(name), clean(value)) for name, value in sorted(found.recomputed.items())]
    inside = table(("figure", "value"), rows, caption="As signed; names and units: docs/manifest.md", class_="text")
    return tag("details", words("summary", f"All {len(rows)} recomputable figures of this cell"), inside)


# The story and the machine


def _story(campaign: Campaign) -> Iterator[str]:
    rows = []
    for number, session in enumerate(campaign.sessions, start=1):
        outcome = session.outcome
        status = outcome.status if outcome.abort is None else f"void: {clean(outcome.abort.code)}"
        rows.append(
            (str(number), clean(outcome.cell), str(outcome.attempt), status, outcome.started_on, outcome.finished_on)
        )
    yield words("h2", "Every session")
    head = ("session", "cell", "attempt", "status", "started", "finished")
    yield table(head, rows, caption="In the order of the log, void ones among them", class_="text")


def _environment(campaign: Campaign, shown: Mapping[str, Shown]) -> Iterator[str]:
    yield words("h2", "Where it ran")
    hosts = [one.host for one in shown.values() if one.host]
    if hosts:
        yield words("h3", "What the sampler read of the machine")
        yield facts(hosts[0])
        if any(host != hosts[0] for host in hosts):
            yield words("p", "Later sessions say something else; their records have it.", class_="bad")
    last = next((s.outcome for s in reversed(campaign.sessions) if s.outcome.environment), None)
    if last is not None:
        yield words("h3", "What the runner says of its engine and of the model")
        yield facts(dict(islice(_flat(last.environment, "", 0), MAX_FACTS)))
    yield words("h3", "What all this is of")
    yield facts(_identity(campaign, campaign.plan))


def _identity(campaign: Campaign, plan: CampaignPlan) -> dict[str, str]:
    devices = ", ".join(f"{clean(device.name)} ({clean(device.uuid)})" for device in plan.devices)
    return {
        "image": plan.image.config_digest,
        "devices": devices or "no accelerator",
        "runner": f"{clean(plan.runner.runner_id)}, key {plan.runner.key_id}",
        "runner version": clean(plan.runner_version),
        "plan statement": plan_id(campaign.plan_id),
        "result statement": "none" if campaign.result_id is None else plan_id(campaign.result_id),
    }


def plan_id(statement: str) -> str:
    """Return a statement's name as labels and other tools write it."""
    return f"sha256:{statement}"


def _flat(value: Mapping[str, Json], prefix: str, depth: int) -> Iterator[tuple[str, str]]:
    for name, item in value.items():
        path = f"{prefix}{clean(name, 60)}"
        if isinstance(item, Mapping) and depth < _DEPTH:
            yield from _flat(item, f"{path}.", depth + 1)
        else:
            yield clean(path), clean(item if isinstance(item, str) else dumps(item).decode("utf-8"), 200)
