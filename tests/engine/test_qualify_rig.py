"""A rig is qualified with a real sandbox: meters are read by us from outside, and by nobody from inside."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import doctor
from orchestrator.meter.qualify import Plan, devices_of
from tests.engine.conftest import leftovers, rig_name

pytestmark = pytest.mark.engine


def test_this_rig_is_qualified_and_its_sandboxes_see_no_meter(engine, tmp_path: Path):
    rig = f"{rig_name()}-qualify"
    diagnosis = doctor.examine(rig_id=rig, state=tmp_path)
    found = doctor.qualify(diagnosis, [], tmp_path, Plan(slow_s=0.5, busy_s=0.5, busy=1))
    by_name = {finding.name: finding for finding in found.findings}
    assert by_name["hole.power-meters"].good
    assert by_name["clocks"].good
    assert {"sampler.idle", "sampler.busy", "sampler.cpu"} <= set(by_name)
    assert [
        finding.observed for name, finding in by_name.items() if name.startswith("hole.") and not finding.good
    ] == []
    assert devices_of(found.to_bytes()) == ()
    assert leftovers(rig) == ""
