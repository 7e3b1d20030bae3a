"""RAPL on powercap trees made of files: names, twins, mirrors, wraps and refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.meter import rapl
from orchestrator.meter.rapl import RaplInstrument, discover

RANGE = 262_143_328_850


def zone(root: Path, entry: str, name: str, energy: int, modulus: int = RANGE) -> Path:
    path = root / entry
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{energy}\n")
    (path / "max_energy_range_uj").write_text(f"{modulus}\n")
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "powercap"
    root.mkdir()
    (root / "intel-rapl").mkdir()  # the control type itself is no zone
    return root


def columns(found: rapl.Discovery) -> tuple[list[str], list[str]]:
    return [z.column for z in found.packages], [z.column for z in found.drams]


def test_an_intel_server_has_packages_and_memory_and_no_part_is_counted_twice(tree: Path) -> None:
    for socket in (0, 1):
        zone(tree, f"intel-rapl:{socket}", f"package-{socket}", 1000 + socket)
        zone(tree, f"intel-rapl:{socket}:0", "core", 500)
        zone(tree, f"intel-rapl:{socket}:1", "dram", 70 + socket)
    zone(tree, "intel-rapl:2", "psys", 9000)
    found = discover(tree)
    assert columns(found) == (
        ["rapl.package-0", "rapl.package-1"],
        ["rapl.package-0.dram", "rapl.package-1.dram"],
    )
    assert found.package_reason == found.dram_reason == ""
    instrument = RaplInstrument(found)
    assert instrument.host_columns == ("rapl.package-0", "rapl.package-1", "rapl.package-0.dram", "rapl.package-1.dram")
    assert instrument.read() == ()
    assert instrument.read_host() == (1000, 1001, 70, 71)
    instrument.close()


def test_the_counter_wraps_one_after_its_highest_value(tree: Path) -> None:
    zone(tree, "intel-rapl:0", "package-0", 1)
    assert discover(tree).packages[0].range_uj == RANGE + 1


def test_amd_has_packages_and_says_that_it_has_no_memory_counter(tree: Path) -> None:
    zone(tree, "intel-rapl:0", "package-0", 1000)
    zone(tree, "intel-rapl:0:0", "core", 400)
    found = discover(tree)
    assert columns(found) == (["rapl.package-0"], [])
    assert found.dram_reason == "this processor offers no RAPL counter for memory"


def test_the_memory_mapped_twin_is_not_added(tree: Path) -> None:
    zone(tree, "intel-rapl-mmio:0", "package-0", 2000)
    zone(tree, "intel-rapl:0", "package-0", 1000)
    found = discover(tree)
    assert columns(found) == (["rapl.package-0"], [])
    assert found.packages[0].file.number() == 1000


def test_a_mirrored_die_is_counted_once(tree: Path) -> None:
    zone(tree, "intel-rapl:0", "package-0-die-0", 123_456_789)
    zone(tree, "intel-rapl:1", "package-0-die-1", 123_456_789)
    zone(tree, "intel-rapl:2", "package-1-die-0", 987_654_321)
    assert columns(discover(tree)) == (["rapl.package-0-die-0", "rapl.package-1-die-0"], [])


def test_dies_with_counters_of_their_own_are_both_counted(tree: Path) -> None:
    zone(tree, "intel-rapl:0", "package-0-die-0", 123_456_789)
    zone(tree, "intel-rapl:1", "package-0-die-1", 123_456_790)
    assert columns(discover(tree))[0] == ["rapl.package-0-die-0", "rapl.package-0-die-1"]


def test_equal_counters_of_another_range_are_no_mirror(tree: Path) -> None:
    zone(tree, "intel-rapl:0", "package-0", 5)
    zone(tree, "intel-rapl:1", "package-1", 5, modulus=65_532_610_987)
    assert len(discover(tree).packages) == 2


def test_a_host_without_powercap_says_so(tmp_path: Path) -> None:
    found = discover(tmp_path / "powercap")
    assert columns(found) == ([], [])
    assert found.package_reason == found.dram_reason
    assert "no RAPL counters" in found.package_reason


def test_a_refused_counter_is_explained(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone(tree, "intel-rapl:0", "package-0", 1000)
    real = rapl.KernelFile

    def refusing(path: Path) -> rapl.KernelFile:
        if path.name == "energy_uj":  # as root, the tests' own mode bits refuse nothing
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(rapl, "KernelFile", refusing)
    found = discover(tree)
    assert columns(found) == ([], [])
    assert "CVE-2020-8694" in found.package_reason
    assert "CAP_DAC_READ_SEARCH" in found.dram_reason


@pytest.mark.parametrize(("file", "text"), [("energy_uj", ""), ("energy_uj", "-5\n"), ("max_energy_range_uj", "x\n")])
def test_a_zone_that_does_not_read_is_left_out_with_its_reason(tree: Path, file: str, text: str) -> None:
    (zone(tree, "intel-rapl:0", "package-0", 1000) / file).write_text(text)
    found = discover(tree)
    assert columns(found) == ([], [])
    assert file in found.package_reason


def test_a_zone_whose_file_cannot_be_opened_is_left_out_with_its_reason(tree: Path) -> None:
    (zone(tree, "intel-rapl:0", "package-0", 1000) / "energy_uj").unlink()
    assert "cannot be opened" in discover(tree).package_reason
