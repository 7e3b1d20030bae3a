"""The system call filter: what it must not let through, and that the committed file is the code's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.launch import seccomp
from orchestrator.launch.seccomp import FAMILIES, rendered, seccomp_inline, seccomp_profile

FORBIDDEN = """
acct add_key bpf chroot clock_settime delete_module finit_module fsconfig fsmount fsopen init_module
io_uring_enter io_uring_register io_uring_setup ioperm iopl kcmp kexec_load keyctl lookup_dcookie mbind
migrate_pages mount mount_setattr move_mount move_pages name_to_handle_at open_by_handle_at open_tree
perf_event_open pidfd_getfd pivot_root process_vm_readv process_vm_writev ptrace quotactl reboot request_key
set_mempolicy sethostname setns settimeofday swapon sync syslog umount2 unshare userfaultfd vhangup vm86
""".split()


def rules(name: str) -> list[dict]:
    return [rule for rule in seccomp_profile()["syscalls"] if name in rule["names"]]


@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_dangerous_call_is_not_listed(name: str):
    assert rules(name) == []


def test_what_is_not_listed_is_refused():
    assert seccomp_profile()["defaultAction"] == "SCMP_ACT_ERRNO"


def test_no_call_is_listed_twice_without_conditions():
    names = [name for _, text in FAMILIES.values() for name in text.split()]
    assert len(names) == len(set(names))
    conditional = {"clone", "clone3", "socket", "socketpair", "personality"}
    assert conditional.isdisjoint(names)


def test_clone_makes_no_namespace_and_clone3_sends_to_clone():
    (clone,), (clone3,) = rules("clone"), rules("clone3")
    assert clone["args"] == [{"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
    assert (clone3["action"], clone3["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)


def test_only_four_address_families_can_be_made_and_netlink_only_for_routes():
    made = {rule["args"][0]["value"]: rule["args"][1:] for rule in rules("socket")}
    assert set(made) == {1, 2, 10, 16}
    assert made[16] == [{"index": 2, "value": 0, "valueTwo": 0, "op": "SCMP_CMP_EQ"}]
    assert all(not made[family] for family in (1, 2, 10))


def test_the_committed_file_is_the_codes():
    committed = Path(seccomp.__file__).with_name("seccomp.json").read_text()
    assert committed == rendered()
    assert json.loads(committed) == json.loads(seccomp_inline())
    assert seccomp.main(["--check"]) == 0
