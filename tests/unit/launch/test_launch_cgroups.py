"""Where a sandbox's control groups are, on every kind of machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.launch.cgroups import Membership, directories, oom_kills, remove
from orchestrator.launch.sandbox import session_groups
from protocol.errors import EngineUnavailable

ID = "1cf51157247a99723817433fc64c7ed85e41689fba2c2d20289d7f6bf963132c"

V1 = "".join(f"{group}:/jouleseal/s/{ID}\n" for group in ("9:name=systemd", "4:memory", "2:cpu,cpuacct", "0:"))
SLICE = "jouleseal.slice/jouleseal-s.slice/jouleseal-s-1.slice"  # how systemd nests the session s-1
V1_MOUNTS = """\
31 24 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
32 24 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 24 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
22 1 254:0 / / rw - ext4 /dev/vda rw
"""
V2 = f"0::/jouleseal.slice/jouleseal-s.slice/docker-{ID}.scope\n"
V2_MOUNTS = "33 24 0:32 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"


def test_hybrid_machines_have_both():
    found = directories(Membership.parse(V1), V1_MOUNTS)
    assert found == {
        "memory": Path(f"/sys/fs/cgroup/memory/jouleseal/s/{ID}"),
        "cpu": Path(f"/sys/fs/cgroup/cpu,cpuacct/jouleseal/s/{ID}"),
        "cpuacct": Path(f"/sys/fs/cgroup/cpu,cpuacct/jouleseal/s/{ID}"),
        "unified": Path(f"/sys/fs/cgroup/unified/jouleseal/s/{ID}"),
    }


def test_v2_machines_have_one():
    found = directories(Membership.parse(V2), V2_MOUNTS)
    assert found == {"unified": Path(f"/sys/fs/cgroup/jouleseal.slice/jouleseal-s.slice/docker-{ID}.scope")}


def test_a_hierarchy_mounted_from_its_middle_is_followed():
    mounts = "33 24 0:32 /machine /cg\\040x rw - cgroup2 cgroup2 rw\n"
    found = directories(Membership.parse("0::/machine/a/b\n"), mounts)
    assert found == {"unified": Path("/cg x/a/b")}


@pytest.mark.parametrize("text", [V1, V2])
def test_a_container_is_recognised_under_both_drivers(text: str):
    assert Membership.parse(text).is_of(ID)
    assert not Membership.parse(text).is_of(ID[:-1] + "d")


def test_a_process_that_is_ending_has_left_some_groups_and_is_no_member():
    assert not Membership.parse(V1.replace(f"4:memory:/jouleseal/s/{ID}", "4:memory:/")).is_of(ID)
    assert not Membership.parse("0::/\n").is_of(ID)
    assert not Membership.parse("").is_of(ID)


def test_an_old_runtime_that_leaves_the_unified_tree_alone_is_understood():
    assert Membership.parse(V1.replace(f"0::/jouleseal/s/{ID}", "0::/system.slice/docker.service")).is_of(ID)


def test_a_sessions_groups_are_found_by_name_and_nothing_else_is(tmp_path: Path):
    for name in ("jouleseal/s-1/x", "jouleseal/s-2", SLICE, "docker/s-1"):
        (tmp_path / name).mkdir(parents=True)
    mountinfo = f"33 24 0:32 / {tmp_path} rw - cgroup2 cgroup2 rw\n"
    assert session_groups("s-1", mountinfo) == [
        tmp_path / "jouleseal/s-1",
        tmp_path / SLICE,
    ]
    assert session_groups("s-3", mountinfo) == []


def test_a_group_outside_our_own_namespace_is_the_rigs_fault():
    with pytest.raises(EngineUnavailable) as caught:
        Membership.parse("0::/../../jouleseal/s/x\n")
    assert caught.value.code == "CGROUP_INVISIBLE"


def test_a_child_killed_for_memory_is_counted_in_either_version(tmp_path: Path):
    (tmp_path / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 2\noom_kill 2\noom_group_kill 0\n")
    assert oom_kills({"memory": tmp_path}) == 3
    assert oom_kills({"unified": tmp_path}) == 2
    assert oom_kills({"memory": tmp_path / "gone"}) == 0
    assert oom_kills({}) == 0


def test_groups_are_removed_and_twice_is_once(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert remove([tmp_path / "a", tmp_path / "b", tmp_path / "c"]) == []
    assert list(tmp_path.iterdir()) == []
    assert remove([tmp_path / "a"]) == []


def test_a_group_with_anything_below_it_stays_and_is_said(tmp_path: Path):
    (tmp_path / "a" / "somebody").mkdir(parents=True)
    assert remove([tmp_path / "a"]) == [tmp_path / "a"]
    assert (tmp_path / "a" / "somebody").is_dir()
