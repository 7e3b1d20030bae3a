"""Both versions of the cgroup files say the same of the same sandbox, and a sandbox that is gone says so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.meter.cgroup import CLOCK_V1, CLOCK_V2, CgroupInstrument, block_bytes_v1, block_bytes_v2, usage_v2
from orchestrator.meter.host import HostInstrument, busy_ticks, host_facts
from protocol.errors import MeterUnavailable


def test_both_versions_read_the_same(cgroup) -> None:
    cgroup.use(2_045_830_000, 1 << 30)
    v1 = CgroupInstrument(cgroup.only("cpuacct", "memory", "blkio", "pids"))
    v2 = CgroupInstrument({**cgroup.only("unified")})
    assert (v1.clock, v2.clock) == (CLOCK_V1, CLOCK_V2)
    assert v1.read() == v2.read() == (2_045_830_000,)
    assert v1.read_host() == (1 << 30, (1 << 30) + 4096, 4608, 3)
    assert v2.read_host() == (1 << 30, (1 << 30) + 4096, 4608, None)  # no pids controller in this v2 tree
    for instrument in (v1, v2):
        instrument.close()


def test_the_finer_clock_wins_on_a_hybrid_host(cgroup) -> None:
    cgroup.use(1_234_567_891, 4096)
    hybrid = CgroupInstrument(cgroup.only("cpuacct", "memory", "unified"))
    assert hybrid.read() == (1_234_567_891,)
    hybrid.close()


def test_a_v2_tree_without_controllers_lends_only_its_clock(cgroup) -> None:
    for name in ("memory.current", "memory.peak"):
        (cgroup.dirs["unified"] / name).unlink()
    hybrid = CgroupInstrument(cgroup.only("memory", "unified"))
    cgroup.use(5_000_000, 8192)
    (cgroup.dirs["unified"] / "memory.current").unlink()
    assert hybrid.clock == CLOCK_V2
    assert hybrid.read() == (5_000_000,)
    assert hybrid.read_host()[0] == 8192
    hybrid.close()


@pytest.mark.parametrize("controllers", [(), ("cpuacct",), ("memory",), ("blkio", "pids")])
def test_a_cgroup_without_time_or_memory_is_refused(cgroup, controllers) -> None:
    with pytest.raises(MeterUnavailable) as caught:
        CgroupInstrument(cgroup.only(*controllers))
    assert caught.value.code == "NO_CGROUP"


def test_an_absent_extra_is_none_and_not_zero(cgroup) -> None:
    instrument = CgroupInstrument(cgroup.only("cpuacct", "memory"))
    assert instrument.read_host()[2:] == (None, None)
    instrument.close()


@pytest.mark.parametrize("text", ["", "-1\n", "1.5\n", "max\n", "0x10\n"])
def test_a_counter_that_is_no_number_is_a_lost_instrument(cgroup, text) -> None:
    instrument = CgroupInstrument(cgroup.only("cpuacct", "memory"))
    cgroup.write("cpuacct", "cpuacct.usage", text)
    with pytest.raises(MeterUnavailable) as caught:
        instrument.read()
    assert caught.value.code == "READ_FAILED"
    instrument.close()


@given(st.lists(st.tuples(st.integers(0, 10**15), st.integers(0, 10**15)), max_size=6))
def test_io_of_several_disks_is_summed_in_both_versions(disks) -> None:
    v1 = "".join(
        f"8:{i} Read {r}\n8:{i} Write {w}\n8:{i} Sync 7\n8:{i} Total {r + w}\n" for i, (r, w) in enumerate(disks)
    )
    v2 = "".join(f"8:{i} rbytes={r} wbytes={w} rios=1 wios=1 dbytes=5 dios=1\n" for i, (r, w) in enumerate(disks))
    expected = sum(r + w for r, w in disks)
    assert block_bytes_v1((v1 + "Total 1\n").encode()) == block_bytes_v2(v2.encode()) == expected


def test_io_of_the_groups_below_is_counted_where_v1_counts_it(cgroup) -> None:
    cgroup.write("blkio", "blkio.throttle.io_service_bytes_recursive", "8:0 Read 100\n8:0 Write 11\nTotal 111\n")
    instrument = CgroupInstrument(cgroup.only("cpuacct", "memory", "blkio"))
    assert instrument.read_host()[2] == 111
    instrument.close()


def test_cpu_stat_without_usage_is_not_zero() -> None:
    with pytest.raises(MeterUnavailable):
        usage_v2(b"user_usec 1\nsystem_usec 2\n")


STAT = b"cpu  100 20 30 4000 500 6 7 8 90 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n"


def test_busy_is_everything_but_idle_and_waiting() -> None:
    assert busy_ticks(STAT) == 100 + 20 + 30 + 6 + 7 + 8


@pytest.mark.parametrize("text", [b"", b"intr 1 2 3\n", b"cpu 1 2 3\n", b"cpu a b c d e f g h\n"])
def test_another_kind_of_stat_is_refused(text) -> None:
    with pytest.raises(MeterUnavailable):
        busy_ticks(text)


def test_the_machine_is_described_in_ascii(tmp_path) -> None:
    (tmp_path / "stat").write_bytes(STAT)
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Prozessor\u00ae 9000\n", encoding="utf-8")
    (tmp_path / "governor").write_text("performance\n")
    facts = host_facts(tmp_path, tmp_path / "governor")
    assert facts["cpu"] == "Prozessor? 9000"
    assert facts["governor"] == "performance"
    assert host_facts(tmp_path / "none", tmp_path / "none")["cpu"] == "unknown"
    host = HostInstrument(tmp_path)
    assert host.read() == ()
    assert host.read_host() == (171,)
    host.close()
