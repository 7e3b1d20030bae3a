"""What stands beside a meter's record, a wall meter and the site: recomputed, and not to be left out or changed."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

from protocol.attestation.bundle import evidence_path
from protocol.attestation.digest import sha256_hex
from protocol.errors import InvalidMeasurement, VerificationError
from tests.worlds.accelerated import CERTIFICATE, PROFILE, WalledWorld
from tests.worlds.world import cell, failed
from verifier.report import Verdict

CELL = cell(runs=2)


def test_the_node_and_the_totals_are_published_and_recomputed():
    world = WalledWorld()
    world.campaign([CELL])
    assert world.judge().verdict is Verdict.VERIFIED
    figures = world.said[-1].predicate["cells"][0]["recomputed"]
    node = Fraction(figures["nodeEnergyWhPer1000Queries"])
    assert abs(node / Fraction(8 * 500 * 1000, 3600) - 1) < Fraction(1, 1_000)  # 8 s of 300 W and 200 W a query
    assert Fraction(figures["nodeTotalEnergyWhPer1000Queries"]) == pytest.approx(
        float(node * Fraction("1.25")), abs=2e-9
    )
    assert figures["nodeTotalEnergyKind"] == "simulated"
    assert figures["pue"] == "1.25"
    # Storage is unmeasured, so the sum over the channels is no total, and is not called one.
    assert "totalEnergyWhPer1000Queries" not in figures
    assert figures["scopedTotalEnergyScope"] == "gpu+cpu+dram"
    it_energy = Fraction(figures["itEnergyWhPer1000Queries"])
    scoped = Fraction(figures["scopedTotalEnergyWhPer1000Queries"])
    assert scoped == pytest.approx(float(it_energy * Fraction("1.25")), abs=2e-9)
    (kind,) = {run["figures"]["node"]["kind"] for run in world.said[2].predicate["runs"]}
    assert kind == "simulated"


def test_another_pue_than_the_sites():
    def lower(result):
        result["cells"][0]["recomputed"]["pue"] = "1.05"

    world = WalledWorld()
    world.campaign([CELL], edit={"campaign-result": lower})
    assert failed(world.judge()) == {("recompute", "RECOMPUTE_CELL")}


def test_a_row_of_the_wall_meters_log_changed():
    world = WalledWorld()
    world.campaign([CELL])
    log = world.beside(world.ran[0])["wall-log"]
    files = world.bundle()
    files[evidence_path(sha256_hex(log))] = log.replace(b"500.000", b"400.000", 1)
    assert {check for check, _ in failed(world.judge(files))} == {"evidence"}


def test_a_log_without_its_calibration():
    class Forgetful(WalledWorld):
        def beside(self, ran):
            return {name: data for name, data in super().beside(ran).items() if name != "wall-calibration"}

    with pytest.raises(VerificationError) as caught:
        Forgetful().campaign([CELL])
    assert caught.value.code == "WALL_INCOMPLETE"


def test_a_node_that_costs_less_than_its_accelerator():
    world = WalledWorld()
    world.rest_w = -60
    with pytest.raises(InvalidMeasurement) as caught:
        world.campaign([CELL])
    assert caught.value.code == "WALL_DISAGREES"


@pytest.mark.parametrize(
    ("name", "change", "code"),
    [
        ("wall-calibration", {**CERTIFICATE, "intervalSeconds": "1"}, "WALL_INTERVAL"),
        ("site", {**PROFILE, "pue": "0.9"}, "BAD_FIELD"),
    ],
)
def test_documents_that_do_not_fit(name, change, code):
    class Changed(WalledWorld):
        def beside(self, ran):
            return {**super().beside(ran), name: json.dumps(change).encode()}

    with pytest.raises((InvalidMeasurement, VerificationError)) as caught:
        Changed().campaign([CELL])
    assert caught.value.code == code
