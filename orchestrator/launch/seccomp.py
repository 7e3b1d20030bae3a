"""The system calls that a sandbox may make: an allow list with the reason of each family, in the engine's JSON.

Rules:
 1. What is not listed is refused with EPERM. A list of refusals would let every call that a newer kernel adds through.
 2. `clone` may make threads and processes but no namespaces; `clone3` hides its flags behind a pointer that a filter
    cannot read, so it answers ENOSYS and the C library falls back to `clone`.
 3. `socket` may make unix, IPv4 and IPv6 sockets, which reach nothing but the sandbox's own loopback, and the route
    protocol of netlink, with which the C library lists that one interface. AF_VSOCK would reach the hypervisor: it has
    no namespace. AF_PACKET, AF_ALG, every other family and every other netlink protocol stay closed.
 4. io_uring performs file and socket operations that no filter sees: it is not listed.
 5. One native architecture at a time: 32-bit calls have other numbers and are not offered.

`python -m orchestrator.launch.seccomp [--check]` writes or compares `seccomp.json` beside this file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_ALLOW = "SCMP_ACT_ALLOW"
_ENOSYS = 38

# CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET, include/uapi/linux/sched.h
_NAMESPACE_FLAGS = 0x7E020000

_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_NETLINK_ROUTE = 0

# personality(2): Linux, Linux with the address space of 32 bits, UNAME26 with either, and the query
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)

FAMILIES: Mapping[str, tuple[str, str]] = {
    "files": (
        "reading the image and writing the tmpfs mounts; the mounts decide what can be written",
        """
        access cachestat chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
        fadvise64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock
        fremovexattr fsetxattr fstat fstatfs fsync ftruncate futimesat getcwd getdents getdents64 getxattr
        inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl lchown lgetxattr link linkat listxattr
        llistxattr lremovexattr lseek lsetxattr lstat mkdir mkdirat mknod mknodat newfstatat open openat openat2 pipe
        pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv removexattr
        rename renameat renameat2 rmdir sendfile setxattr splice stat statfs statx symlink symlinkat sync_file_range
        tee truncate umask unlink unlinkat utime utimensat utimes vmsplice write writev
        """,
    ),
    "asynchronous files": (
        "the kernel's older asynchronous interface, which weight loaders use; unlike io_uring it opens nothing",
        "io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit",
    ),
    "processes": (
        "starting, waiting for and signalling processes of the sandbox's own pid namespace",
        """
        alarm arch_prctl capget capset execve execveat exit exit_group fork get_robust_list getitimer getpgid getpgrp
        getpid getppid getpriority getrlimit getrusage getsid gettid kill pause pidfd_open pidfd_send_signal prctl
        prlimit64 restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
        rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo set_robust_list set_tid_address setitimer setpgid setpriority
        setrlimit setsid sigaltstack signalfd signalfd4 tgkill times tkill vfork wait4 waitid
        """,
    ),
    "scheduling": (
        "pinning and yielding threads inside the cpuset",
        """
        getcpu ioprio_get ioprio_set membarrier sched_get_priority_max sched_get_priority_min sched_getaffinity
        sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr
        sched_setparam sched_setscheduler sched_yield
        """,
    ),
    "identity": (
        "reading and re-setting its own ids; without capabilities none can be gained",
        """
        getegid geteuid getgid getgroups getresgid getresuid getuid setfsgid setfsuid setgid setgroups setregid
        setresgid setresuid setreuid setuid
        """,
    ),
    "memory": (
        "address space, bounded by the memory limit",
        """
        brk madvise map_shadow_stack memfd_create mincore mlock mlock2 mlockall mmap mprotect mremap mseal msync munlock
        munlockall munmap pkey_alloc pkey_free pkey_mprotect
        """,
    ),
    "time": (
        "reading clocks and waiting; none can be set",
        """
        clock_getres clock_gettime clock_nanosleep gettimeofday nanosleep time timer_create timer_delete
        timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime
        """,
    ),
    "waiting": (
        "locks, queues and polling inside the sandbox's own ipc namespace",
        """
        epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
        eventfd2 futex futex_requeue futex_wait futex_waitv futex_wake mq_getsetattr mq_notify mq_open mq_timedreceive
        mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd poll ppoll pselect6 select semctl semget semop semtimedop
        shmat shmctl shmdt shmget
        """,
    ),
    "sockets": (
        "the model's own socket and loopback; which families may be made is rule 3",
        """
        accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg sendmsg
        sendto setsockopt shutdown
        """,
    ),
    "self-restriction": (
        "a vendor may seal its own children further",
        "landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp",
    ),
    "system": ("names and random numbers", "getrandom sysinfo uname"),
}


def _argument(index: int, value: int, op: str = "SCMP_CMP_EQ", value_two: int = 0) -> dict[str, object]:
    return {"index": index, "value": value, "valueTwo": value_two, "op": op}


def _rule(names: Sequence[str], comment: str, *args: Mapping[str, object]) -> dict[str, object]:
    return {"names": list(names), "action": _ALLOW, "args": [dict(a) for a in args], "comment": comment}


def _conditional_rules() -> list[dict[str, object]]:
    threads = _argument(0, _NAMESPACE_FLAGS, "SCMP_CMP_MASKED_EQ", 0)
    route = (_argument(0, _AF_NETLINK), _argument(2, _NETLINK_ROUTE))
    return [
        _rule(["clone"], "threads and processes, no namespaces", threads),
        {
            "names": ["clone3"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": _ENOSYS,
            "args": [],
            "comment": "its flags cannot be seen: fall back to clone",
        },
        *(_rule(["socket"], f"address family {f}", _argument(0, f)) for f in (_AF_UNIX, _AF_INET, _AF_INET6)),
        _rule(["socket"], "netlink, route protocol only", *route),
        _rule(["socketpair"], "unix pairs", _argument(0, _AF_UNIX)),
        *(_rule(["personality"], f"execution domain {p:#x}", _argument(0, p)) for p in _PERSONALITIES),
    ]


def seccomp_profile() -> dict[str, object]:
    """Return the filter in the format that the engine's `seccomp=` security option takes as inline content."""
    families = [_rule(sorted(set(names.split())), f"{name}: {reason}") for name, (reason, names) in FAMILIES.items()]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": []},
        ],
        "syscalls": [*families, *_conditional_rules()],
    }


def seccomp_inline() -> str:
    """Return the filter as the one line of JSON that is applied, read back and hashed."""
    return json.dumps(seccomp_profile(), sort_keys=True, separators=(",", ":"))


def rendered() -> str:
    """Return the committed `seccomp.json`: the same filter, indented for people."""
    return json.dumps(seccomp_profile(), indent=1, sort_keys=True) + "\n"


def main(argv: Sequence[str]) -> int:
    """Write `seccomp.json`, or with `--check` return 1 if the committed file differs from these rules."""
    parser = argparse.ArgumentParser(prog="python -m orchestrator.launch.seccomp")
    parser.add_argument("--check", action="store_true", help="compare instead of write")
    path = Path(__file__).with_name("seccomp.json")
    if parser.parse_args(argv).check:
        return 0 if path.exists() and path.read_text() == rendered() else 1
    path.write_text(rendered())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
