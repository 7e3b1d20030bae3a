"""A report says that it verifies nothing, and shows every session of a hostile bundle harmlessly and as it is."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from orchestrator import cli
from orchestrator.commands.report import _PICTURE
from orchestrator.report.page import INDEX, pages
from orchestrator.report.plot import MAX_BYTES
from orchestrator.report.words import FLAGS, UNKNOWN_FLAG, clean, field, rounded, seconds
from orchestrator.results import read_campaign
from protocol.attestation.bundle import BundleFiles
from protocol.attestation.claims import Failure
from protocol.attestation.digest import sha256_hex
from protocol.errors import UsageError
from protocol.methodology import flags, probes, session_figures
from tests.worlds.accelerated import STAND_IN, AcceleratedWorld, WalledWorld
from tests.worlds.world import World, cell

HTML = "{http://www.w3.org/1999/xhtml}"
SAMPLE = Path(__file__).parents[2] / "museum" / "sample-1" / "bundle.tar"
DISTURBED = Failure(code="TRACE_GAP", blame="measurement")


def report(world: World, number: int = 1) -> dict[str, str]:
    files = BundleFiles(world.bundle())
    return dict(pages(files, read_campaign(files, number)))


def page(files: dict[str, str]) -> ET.Element:
    return ET.fromstring(files[INDEX])


def text_of(element: ET.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def honest(**facts) -> World:
    world = World()
    world.campaign(**facts)
    return world


@pytest.fixture(scope="module")
def accelerated() -> dict[str, str]:
    world = AcceleratedWorld()
    world.after_ms = 1_500
    world.campaign([cell()])
    return report(world)


def test_the_page_says_first_that_it_verifies_nothing_and_what_does():
    found = text_of(page(report(honest())).find(f".//{HTML}header"))
    assert "This page verifies nothing." in found
    assert "jouleseal-verify bundle.tar --root root.json" in found


def test_every_run_and_the_whole_session_have_a_picture_beside_the_page():
    files = report(honest())
    shown = [image.get("src") for image in page(files).iter(f"{HTML}img")]
    assert shown == ["session-01.svg", "session-01-run-01.svg", "session-01-run-02.svg"]
    assert set(files) == {INDEX, *shown}
    assert all(_PICTURE.fullmatch(name) for name in shown)
    for name in shown:
        ET.fromstring(files[name])


def test_every_picture_has_words_in_its_place():
    alts = [image.get("alt") for image in page(report(honest())).iter(f"{HTML}img")]
    assert all("power over time, estimated" in alt for alt in alts)


def test_headings_do_not_skip_a_level():
    levels = [int(found.tag[-1]) for found in page(report(honest())).iter() if found.tag[-2:] in {"h1", "h2", "h3"}]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))


def test_the_page_needs_nothing_from_outside_and_runs_nothing(accelerated: dict[str, str]):
    root = page(accelerated)
    assert not [found for found in root.iter() if found.tag in {f"{HTML}script", f"{HTML}link", f"{HTML}iframe"}]
    assert not [name for found in root.iter() for name in found.attrib if name.startswith("on")]
    targets = [found.get(name) for found in root.iter() for name in ("src", "href") if found.get(name)]
    assert set(targets) <= set(accelerated)
    (policy,) = [found.get("content") for found in root.iter(f"{HTML}meta") if found.get("http-equiv")]
    assert policy.startswith("default-src 'none'")


def test_the_same_bundle_gives_the_same_bytes():
    assert report(honest()) == report(honest())


def test_the_runs_are_a_table_of_the_signed_figures(accelerated: dict[str, str]):
    root = page(accelerated)
    table = next(t for t in root.iter(f"{HTML}table") if "energy J" in text_of(t))
    rows = [[text_of(c) for c in row] for row in table.iter(f"{HTML}tr")]
    assert rows[0] == [
        "run",
        "energy J",
        "± J (k = 2)",
        "net of idle J",
        "window s",
        "passes",
        "queries/s",
        "latency ms",
        "p90 ms",
        "accuracy",
        "macro-f1",
    ]
    assert [row[0] for row in rows[1:]] == ["1", "2"]
    assert [row[4:] for row in rows[1:]] == [
        ["32.01", "1", "0.1250", "8,000", "–", "0.9100", "0.9110"],  # noqa: RUF001 - a dash: too few queries for a percentile
        ["32.01", "1", "0.1250", "8,000", "–", "0.9200", "0.9210"],  # noqa: RUF001
    ]
    assert "energy is simulated" in text_of(table)


def test_the_kind_stands_beside_the_headline_and_every_flag_is_explained(accelerated: dict[str, str]):
    root = page(accelerated)
    (badge,) = root.iter(f"{HTML}span")
    assert (badge.text, badge.get("class")) == ("simulated", "kind model")
    said = text_of(root)
    assert FLAGS["simulated-energy"] in said
    assert FLAGS["deferred-work"] in said
    assert UNKNOWN_FLAG not in said
    assert "Not certifiable." in said


def test_the_device_is_named_on_the_page_and_in_its_pictures(accelerated: dict[str, str]):
    assert STAND_IN in text_of(page(accelerated))
    assert f"gpu0 {STAND_IN}, simulated" in accelerated["session-01-run-01.svg"]


def test_a_wall_meter_is_drawn_and_its_energy_stands_beside_the_sum():
    world = WalledWorld()
    world.campaign([cell()])
    files = report(world)
    assert "the signed figures are the same" in text_of(page(files))
    assert "node J" in text_of(page(files))
    words = [found.text for found in ET.fromstring(files["session-01-run-01.svg"]).iter() if found.text]
    assert "node, at the wall, simulated" in words
    (said,) = [word for word in words if word.startswith("node, beside the sum: ")]
    assert ", simulated, wall-meter-gated/1" in said


def test_set_up_energy_is_in_the_picture_of_the_session(accelerated: dict[str, str]):
    assert "J above idle on the accelerators before the first run" in accelerated["session-01.svg"]


def test_an_official_record_of_ten_runs_keeps_each_picture_small(accelerated: dict[str, str]):
    assert all(len(text.encode()) <= MAX_BYTES for name, text in accelerated.items() if name != INDEX)


def test_figures_that_follow_from_the_evidence_are_said_to():
    assert "the signed figures are the same" in text_of(page(report(honest())))


def test_figures_that_do_not_follow_from_the_evidence_are_said_not_to():
    def cheaper(outcome: dict) -> None:
        outcome["runs"][1]["figures"]["itEnergy"]["mj"] = 1

    said = text_of(page(report(honest(edit={"session-outcome": cheaper}))))
    assert "The signed figures of run 2 DIFFER from what the evidence gives." in said


def test_signed_figures_of_no_sense_are_dashes():
    def nonsense(outcome: dict) -> None:
        outcome["runs"][0]["figures"] = {
            "itEnergy": {"mj": True, "kind": "<b>", "idleNetMj": -5},
            "durationNs": "9" * 400,
            "samplesPerSecond": "much",
            "latencyNs": None,
        }

    root = page(report(honest(edit={"session-outcome": nonsense})))
    row = next(row for row in root.iter(f"{HTML}tr") if text_of(row[0]) == "1" and len(row) == 11)
    assert [text_of(one) for one in row] == ["1", "–", "–", "-0.005000", "–", "1", "much", "–", "–", "0.9100", "0.9110"]  # noqa: RUF001


def test_a_completed_session_without_runs_is_shown_without_figures():
    world = World()
    world.session(world.plan([cell()]), cell(), edit={"session-outcome": lambda outcome: outcome["runs"].clear()})
    files = report(world)
    assert "session-01.svg" in files
    assert "The 0 runs" in text_of(page(files))


def test_a_void_session_is_shown_with_its_reason():
    world = World()
    plan = world.plan([cell()])
    world.aborted(plan, cell(), DISTURBED)
    world.session(plan, cell(), attempt=2)
    world.result(plan)
    files = report(world)
    said = text_of(page(files))
    assert "Aborted with TRACE_GAP (the measurement was disturbed) after 2 finished runs. Nothing of it counts." in said
    assert "Void: TRACE_GAP" in files["session-01.svg"]
    assert "session-01-run-01.svg" not in files
    assert "session-02-run-01.svg" in files


def test_a_session_without_a_record_says_so():
    world = World()
    plan = world.plan([cell()])
    intent = world.intent(plan, cell())
    world.outcome(plan, intent, cell(), None, failure=Failure(code="SEAL_BROKEN", blame="vendor"))
    world.result(plan, failure=Failure(code="SEAL_BROKEN", blame="vendor"))
    files = report(world)
    said = text_of(page(files))
    assert list(files) == [INDEX]
    assert "No whole meter record was kept of this session." in said
    assert "The campaign failed: SEAL_BROKEN (the submission's own doing)" in said
    assert "No figure was published for this cell." in said


def broken(change) -> str:
    """Return the page of a campaign whose first session was void and whose record was changed so."""
    world = World()
    plan = world.plan([cell()])

    def edit(outcome: dict) -> None:
        data = world.evidence[outcome["traceSha256"]]
        outcome["traceSha256"] = world.keep(change(data))

    world.aborted(plan, cell(), DISTURBED, edit={"session-outcome": edit})
    world.session(plan, cell(), attempt=2)
    world.result(plan)
    files = report(world)
    assert "session-01.svg" not in files
    assert "session-02.svg" in files
    return text_of(page(files))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda data: data[: len(data) // 2], "TRACE_MALFORMED"),
        (lambda data: data[: data.rindex(b"\n", 0, len(data) // 2) + 1], "TRACE_MALFORMED"),
        (lambda data: data.replace(b'"cpu":"virtual"', b'"cpu":"other-1"'), "TRACE_CHAIN"),
        (lambda data: data.replace(b"jouleseal-trace/1", b"jouleseal-trace/9"), "UNKNOWN_FORMAT"),
        (lambda data: b"", "TRACE_MALFORMED"),
    ],
)
def test_a_broken_record_is_named_by_its_code_and_the_rest_is_shown(change, code: str):
    assert f"Record broken: {code}." in broken(change)


def test_evidence_that_is_absent_or_another_is_named_by_its_code():
    world = honest()
    digest = sha256_hex(world.ran[0].trace)
    assert digest in world.evidence
    world.evidence[digest] += b"\n"
    assert "Record broken: EVIDENCE_DIFFERS." in text_of(page(report(world)))
    del world.evidence[digest]
    assert "Record broken: EVIDENCE_MISSING." in text_of(page(report(world)))


def test_a_record_that_is_not_the_outcomes_is_named():
    def other(outcome: dict) -> None:
        outcome["traceChain"] = "0" * 64

    assert "Record broken: TRACE_CHAIN." in text_of(page(report(honest(edit={"session-outcome": other}))))


def test_a_timeline_that_is_lost_leaves_the_pictures_and_a_reason():
    world = honest()
    outcome = next(said.predicate for said in world.said if said.name == "session-outcome")
    del world.evidence[outcome["runs"][0]["timelineSha256"]]
    files = report(world)
    assert "The evidence does not give the signed figures: EVIDENCE_MISSING" in text_of(page(files))
    assert "No energy: EVIDENCE_MISSING" in files["session-01-run-01.svg"]


def test_hostile_names_are_only_ever_text():
    evil = '<script>alert("x")</script> ]]> &amp; \u202e'

    def environment(outcome: dict) -> None:
        outcome["environment"] = {"engine": {evil: evil}, "model": {"n": [1, {"deep": evil}]}}

    def submission(plan: dict) -> None:
        plan["submission"] |= {"vendor": evil, "model": "<b>tiny</b>"}

    files = report(honest(edit={"campaign-plan": submission, "session-outcome": environment}))
    root = page(files)
    assert not [found for found in root.iter() if found.tag in {f"{HTML}script", f"{HTML}b"}]
    seen = evil.replace("\u202e", "\ufffd")
    assert text_of(root.find(f".//{HTML}h1")) == f"Evidence of <b>tiny</b> 1 by {seen}"
    assert f"engine.{clean(evil, 60)}" in text_of(root)


def test_an_environment_without_end_is_cut():
    def environment(outcome: dict) -> None:
        deep: dict = {}
        for _ in range(20):
            deep = {"deeper": deep}
        outcome["environment"] = {"engine": {f"name-{n}": "x" * 500 for n in range(500)}, "model": deep}

    files = report(honest(edit={"session-outcome": environment}))
    assert len(files[INDEX]) < 60_000


def test_a_campaign_that_was_not_closed_says_so():
    world = World()
    plan = world.plan([cell()])
    world.session(plan, cell())
    assert "The bundle has no result of this campaign: it was not closed." in text_of(page(report(world)))


def test_campaigns_are_numbered_in_the_order_of_their_results():
    world = World()
    world.campaign(model="first")
    world.campaign(model="second")
    assert "Evidence of second 1" in report(world, 2)[INDEX]
    with pytest.raises(UsageError, match="NO_SUCH_CAMPAIGN"):
        report(world, 3)


def test_every_flag_of_the_method_has_its_sentence():
    named = {value for name, value in vars(flags).items() if name.isupper() and isinstance(value, str)}
    of_sessions = {probes.CACHED_ANSWERS, session_figures.DEFERRED_WORK, session_figures.WALL_RANGE}
    of_sessions |= {probes.PREPARED_ANSWERS, probes.REPEATED_ANSWERS}
    assert (named - {flags.MEASURED}) | of_sessions == set(FLAGS)
    assert all(sentence.endswith(".") for sentence in FLAGS.values())


def test_the_command_writes_the_page_and_nothing_else(tmp_path: Path, capsys):
    out = tmp_path / "report"
    assert cli.main(["report", str(SAMPLE), "--out", str(out), "--campaign", "2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"report": str(out / INDEX), "pictures": 6, "model": "reviews-tfidf", "verified": False}
    assert len(list(out.iterdir())) == 7


def test_the_command_replaces_its_own_pictures_and_keeps_what_is_not_its_own(tmp_path: Path, capsys):
    for name in ("session-07-run-03.svg", "notes.svg", "session-1.svg"):
        (tmp_path / name).write_text("mine")
    assert cli.main(["report", str(SAMPLE), "--out", str(tmp_path)]) == 0
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert "nothing was verified" in capsys.readouterr().out
    assert {"notes.svg", "session-1.svg"} < set(first)
    assert "session-07-run-03.svg" not in first
    assert cli.main(["report", str(SAMPLE), "--out", str(tmp_path)]) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


def test_a_damaged_bundle_ends_in_its_own_exit_code(tmp_path: Path, capsys):
    cut = tmp_path / "bundle.tar"
    cut.write_bytes(SAMPLE.read_bytes()[:-700])
    assert cli.main(["report", str(cut), "--out", str(tmp_path / "out")]) == 1
    assert "BAD_TAR" in capsys.readouterr().err
    assert cli.main(["report", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_names_are_made_harmless_and_cut_in_sight():
    assert clean("a\x00b\u2066c\nd\ud800") == "a\ufffdb\ufffdc\ufffdd\ufffd"
    assert clean("x" * 200, 10) == "x" * 9 + "…"


@pytest.mark.parametrize(
    ("ns", "text"), [(6_190_000, "6.19 ms"), (31_000_000_000, "31.0 s"), (381 * 10**9, "6 min 21 s")]
)
def test_durations_are_short(ns: int, text: str):
    assert seconds(ns) == text


def test_numbers_are_short_and_parted():
    assert [rounded(value) for value in (18_150, 1_950.2, 0, -3)] == ["18,150", "1,950", "0", "-3.000"]


def test_a_field_that_is_not_there_is_nothing():
    assert field({"a": {"b": 3}}, "a", "b") == 3
    assert field({"a": [1]}, "a", "b") is None
    assert field(None, "a") is None
