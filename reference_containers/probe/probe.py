"""Tries every way out of a sandbox from inside, and says as JSON which are open.

Rules:
 1. A hole is open if the attempt succeeds, or if it fails in a way that only an open hole can fail.
 2. A check that cannot be judged counts as open.
 3. Nothing here needs more than the Python that is in the image.

Started with JOULESEAL_SOCKET in the environment it listens there; every connection sends one line of JSON with what
lies in wait on the host ({"tcp_port": n, "abstract": "name"}, both optional) and is answered with the report and the
end of the stream. Without it, it takes that line as its argument and prints the report, so that a run without the seal
can be compared.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import mmap
import os
import platform
import resource
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

STARTED = time.monotonic()
HEALTH_CHECK_S = 1.5  # several intervals of the image's HEALTHCHECK
REFUSED = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EROFS}
FAMILIES_NEEDED = {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK}
NETLINK_PROTOCOLS = range(1, 23)  # 0 is the route protocol, which lists the sandbox's own loopback
DISKS = {"ext2", "ext3", "ext4", "xfs", "btrfs", "overlay", "zfs", "f2fs", "nfs", "nfs4", "9p", "virtiofs", "fuse"}
PLAIN_DEVICES = {"console", "full", "null", "ptmx", "random", "tty", "urandom", "zero"}
FOLDER_BYTES = 1 << 20
FOLDER_FILES = 64
UNBOUNDED = 1 << 60
ADDRESS = "192.0.2.1"  # TEST-NET-1 of RFC 5737: routed by any default route, answered by nobody

# asm/unistd_64.h and asm-generic/unistd.h
_X86 = {
    "process_vm_readv": 310,
    "io_uring_setup": 425,
    "bpf": 321,
    "perf_event_open": 298,
    "ptrace": 101,
    "keyctl": 250,
    "add_key": 248,
    "userfaultfd": 323,
    "mount": 165,
    "unshare": 272,
    "setns": 308,
    "clone": 56,
    "clone3": 435,
    "open_by_handle_at": 304,
    "syslog": 103,
    "kcmp": 312,
    "fsopen": 430,
}
_ARM = {
    "process_vm_readv": 270,
    "io_uring_setup": 425,
    "bpf": 280,
    "perf_event_open": 241,
    "ptrace": 117,
    "keyctl": 219,
    "add_key": 217,
    "userfaultfd": 282,
    "mount": 40,
    "unshare": 97,
    "setns": 268,
    "clone": 220,
    "clone3": 435,
    "open_by_handle_at": 265,
    "syslog": 116,
    "kcmp": 272,
    "fsopen": 430,
}
NUMBERS = _X86 if platform.machine() == "x86_64" else _ARM
LIBC = ctypes.CDLL(None, use_errno=True)

Check = Callable[[dict[str, object]], "str | None"]
HOLES: dict[str, Check] = {}


def hole(name: str) -> Callable[[Check], Check]:
    """Register a check: it returns what it found open, or None."""

    def register(check: Check) -> Check:
        HOLES[name] = check
        return check

    return register


def call(name: str, *arguments: object) -> int:
    """Make a system call; return its result, or minus the error number."""
    result = int(LIBC.syscall(NUMBERS[name], *arguments))
    return -ctypes.get_errno() if result == -1 else result


def allowed(name: str, *arguments: object, refused: set[int] = REFUSED) -> str | None:
    """Return the outcome of a system call that a sandbox must not have, None where it is refused."""
    result = call(name, *arguments)
    if result < 0 and -result in refused:
        return None
    return f"{name}: {errno.errorcode.get(-result, result) if result < 0 else 'succeeded'}"


def in_child(action: Callable[[], int]) -> int:
    """Run an action in a child and return its result, 0 to 255: some attempts change the process for good."""
    pid = os.fork()
    if pid == 0:
        result = 255
        with contextlib.suppress(BaseException):
            result = action()
        os._exit(result & 255)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def opened(family: int, kind: int, protocol: int = 0) -> bool:
    """Whether such a socket can be made."""
    with contextlib.suppress(OSError):
        socket.socket(family, kind, protocol).close()
        return True
    return False


# -- out by a socket --------------------------------------------------------------------------------------------------


@hole("vsock")
def vsock(_request: dict[str, object]) -> str | None:
    """AF_VSOCK has no namespace: it reaches the hypervisor."""
    return "AF_VSOCK sockets can be made" if any(opened(40, kind) for kind in (1, 2, 5)) else None


@hole("netlink")
def netlink(_request: dict[str, object]) -> str | None:
    """Every netlink protocol but the one that lists interfaces."""
    found = [number for number in NETLINK_PROTOCOLS if opened(socket.AF_NETLINK, socket.SOCK_RAW, number)]
    return f"netlink protocols {found}" if found else None


@hole("raw-sockets")
def raw_sockets(_request: dict[str, object]) -> str | None:
    """Packets of one's own making."""
    tries = [(socket.AF_PACKET, socket.SOCK_RAW, 0), (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)]
    tries.append((socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6))
    found = [family for family, kind, protocol in tries if opened(family, kind, protocol)]
    return f"raw sockets of families {[int(f) for f in found]}" if found else None


@hole("other-families")
def other_families(_request: dict[str, object]) -> str | None:
    """Address families that a model has no use for: crypto, tunnels, radio."""
    rest = set(range(1, 46)) - {int(family) for family in FAMILIES_NEEDED} - {17, 40}
    found = [family for family in sorted(rest) if any(opened(family, kind) for kind in (1, 2, 3, 5))]
    return f"address families {found}" if found else None


@hole("interfaces")
def interfaces(_request: dict[str, object]) -> str | None:
    """An interface besides loopback."""
    names = [name for _, name in socket.if_nameindex() if name != "lo"]
    with contextlib.suppress(OSError):
        routes = Path("/proc/net/route").read_text().splitlines()[1:]
        names += [line.split()[0] for line in routes]
    return f"interfaces or routes {sorted(set(names))}" if names else None


@hole("tcp")
def tcp(_request: dict[str, object]) -> str | None:
    """A route to anywhere."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as attempt:
        attempt.setblocking(False)  # noqa: FBT003 - the method's own word
        result = attempt.connect_ex((ADDRESS, 443))
    return None if result in {errno.ENETUNREACH, errno.EHOSTUNREACH} else f"connect: {errno.errorcode.get(result)}"


@hole("dns")
def dns(_request: dict[str, object]) -> str | None:
    """A datagram to a name server, the image's or the host's."""
    servers = [ADDRESS]
    with contextlib.suppress(OSError):
        lines = [line.split() for line in Path("/etc/resolv.conf").read_text().splitlines()]
        servers += [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver" and "." in words[1]]
    for server in servers:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attempt, contextlib.suppress(OSError):
            if not server.startswith("127."):
                attempt.sendto(b"\0" * 12, (server, 53))
                return f"a datagram left for {server}"
    return None


@hole("host-loopback")
def host_loopback(request: dict[str, object]) -> str | None:
    """A server on the host's loopback."""
    port = request.get("tcp_port")
    if not isinstance(port, int):
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as attempt:
        return "connected to the host's loopback" if attempt.connect_ex(("127.0.0.1", port)) == 0 else None


@hole("host-abstract-socket")
def host_abstract_socket(request: dict[str, object]) -> str | None:
    """An abstract unix socket of the host: those belong to the network namespace."""
    name = request.get("abstract")
    if not isinstance(name, str):
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as attempt:
        return "connected to the host's abstract socket" if attempt.connect_ex("\0" + name) == 0 else None


@hole("engine-socket")
def engine_socket(_request: dict[str, object]) -> str | None:
    """The container engine's own socket."""
    found = [path for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd") if Path(path).exists()]
    return f"{found}" if found else None


# -- out by a system call ---------------------------------------------------------------------------------------------


@hole("io_uring")
def io_uring(_request: dict[str, object]) -> str | None:
    """File and socket operations that no filter sees."""
    return allowed("io_uring_setup", 1, None)


@hole("bpf")
def bpf(_request: dict[str, object]) -> str | None:
    """Programs in the kernel."""
    return allowed("bpf", 0, None, 0)


@hole("perf")
def perf(_request: dict[str, object]) -> str | None:
    """The processor's counters, energy among them."""
    return allowed("perf_event_open", None, 0, -1, -1, 0)


@hole("ptrace")
def ptrace(_request: dict[str, object]) -> str | None:
    """Another process's memory."""
    if in_child(lambda: 1 if call("ptrace", 0, 0, 0, 0) < 0 else 0) == 0:
        return "ptrace: succeeded"
    return allowed("process_vm_readv", os.getpid(), None, 0, None, 0, 0) or allowed("kcmp", os.getpid(), 1, 9, 0, 0)


@hole("keyring")
def keyring(_request: dict[str, object]) -> str | None:
    """The kernel's keyrings, which have no namespace of the container's own."""
    return allowed("keyctl", 0, -3, 0) or allowed("add_key", b"user", b"probe", b"x", 1, -3)


@hole("userfaultfd")
def userfaultfd(_request: dict[str, object]) -> str | None:
    """The exploit writer's pause button."""
    return allowed("userfaultfd", 0) or allowed("userfaultfd", 1)


@hole("mount")
def mount(_request: dict[str, object]) -> str | None:
    """A mount of one's own."""
    return allowed("mount", b"none", b"/tmp", b"tmpfs", 0, None) or allowed("fsopen", b"tmpfs", 0)


@hole("namespaces")
def namespaces(_request: dict[str, object]) -> str | None:
    """A user namespace, in which one is root again; by each of the three calls that make one."""
    new_user, new_net = 0x10000000, 0x40000000
    for flags in (new_user, new_net, new_user | new_net):
        if in_child(lambda flags=flags: 1 if call("unshare", flags) < 0 else 0) == 0:
            return f"unshare({flags:#x}) succeeded"
    if in_child(lambda: clone_with(new_user | signal.SIGCHLD)) == 0:
        return "clone(CLONE_NEWUSER) succeeded"
    return allowed("clone3", None, 0, refused={errno.ENOSYS}) or allowed("setns", -1, new_net)


def clone_with(flags: int) -> int:
    """Make a child with clone; return 0 if it was made, in parent and child."""
    return 1 if call("clone", flags, 0, 0, 0, 0) < 0 else 0


@hole("file-handles")
def file_handles(_request: dict[str, object]) -> str | None:
    """Files of the host by inode number."""
    return allowed("open_by_handle_at", -100, None, 0)


@hole("kernel-log")
def kernel_log(_request: dict[str, object]) -> str | None:
    """The kernel's messages."""
    buffer = ctypes.create_string_buffer(64)
    return allowed("syslog", 3, buffer, 64) or ("/dev/kmsg" if os.access("/dev/kmsg", os.R_OK) else None)


@hole("personality")
def personality(_request: dict[str, object]) -> str | None:
    """An address space without randomisation, which makes exploits easy."""
    return (
        "personality(ADDR_NO_RANDOMIZE) succeeded" if in_child(lambda: LIBC.personality(0x40000) == -1) == 0 else None
    )


@hole("realtime")
def realtime(_request: dict[str, object]) -> str | None:
    """Real-time scheduling, which starves the instruments."""

    def attempt() -> int:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        return 0

    return "SCHED_FIFO was granted" if in_child(attempt) == 0 else None


# -- out by a file ----------------------------------------------------------------------------------------------------


def mounts() -> Iterator[tuple[str, str, bool]]:
    """Yield (mount point, file system, writable) of every mount, in order."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        yield fields[4].replace("\\040", " "), right.split()[0].split(".")[0], "rw" in fields[5].split(",")


def kind_of(path: str) -> str:
    """Return the file system that a path is on, by the mounts' names."""
    best = max(
        (m for m in mounts() if path == m[0] or path.startswith(m[0].rstrip("/") + "/")), key=lambda m: len(m[0])
    )
    return best[1]


@hole("disk")
def disk(_request: dict[str, object]) -> str | None:
    """A writable mount of the host's disk: the root, a volume."""
    found = [point for point, kind, writable in mounts() if writable and kind in DISKS]
    return f"writable mounts of a disk {found}" if found else None


@hole("writes")
def writes(_request: dict[str, object]) -> str | None:
    """Any folder that can be written to and is not memory."""
    for folder, children, _ in os.walk("/"):
        children[:] = [name for name in children if f"{folder.rstrip('/')}/{name}" not in {"/proc", "/sys"}]
        if os.access(folder, os.W_OK) and kind_of(folder) not in {"tmpfs", "mqueue", "devpts"}:
            return f"{folder} can be written to"
    return None


@hole("image-volume")
def image_volume(_request: dict[str, object]) -> str | None:
    """The image's VOLUME as a disk."""
    kind = kind_of("/probe-volume")
    return f"the image's VOLUME is {kind}" if kind != "tmpfs" else None


@hole("exec-in-tmp")
def exec_in_tmp(_request: dict[str, object]) -> str | None:
    """Code that was not in the image, where any process can write."""
    found = [folder for folder in ("/tmp", "/dev/shm") if executes(Path(folder, "probe-exec"))]
    return f"{found} execute" if found else None


def executes(path: Path) -> bool:
    """Whether a file that was just written can be run, or mapped for execution."""
    try:
        path.write_bytes(b"#!/bin/sh\nexit 0\n" + b"\0" * mmap.PAGESIZE)
        path.chmod(0o700)
        if in_child(lambda: os.execv(path, [str(path)])) == 0:
            return True
        with path.open("rb") as file, contextlib.suppress(PermissionError):
            mmap.mmap(file.fileno(), mmap.PAGESIZE, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC).close()
            return True
        return False
    finally:
        path.unlink(missing_ok=True)


@hole("socket-folder")
def socket_folder(_request: dict[str, object]) -> str | None:
    """The folder of the model's socket as a way to fill the host's disk."""
    folder = Path(os.environ.get("JOULESEAL_SOCKET", "/run/jouleseal/model.sock")).parent
    written, files = 0, []
    try:
        for index in range(FOLDER_FILES):
            path = folder / f"probe-{index}"
            path.touch()
            files.append(path)
            with path.open("wb", buffering=0) as file:
                while written < FOLDER_BYTES:
                    written += file.write(b"\0" * 4096)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ENOENT}:
            raise
    finally:
        for path in files:
            path.unlink()
    if written >= FOLDER_BYTES or len(files) >= FOLDER_FILES:
        return f"took {written} bytes in {len(files)} files"
    return None


@hole("tmpfs-bounds")
def tmpfs_bounds(_request: dict[str, object]) -> str | None:
    """A writable place without a bound of its own on bytes and files."""
    for folder in ("/tmp", "/cache"):
        if not Path(folder).is_dir():
            return f"{folder} is not there"
        known = os.statvfs(folder)
        if kind_of(folder) != "tmpfs" or known.f_files > 1 << 20 or known.f_files == 0:
            return f"{folder} is {kind_of(folder)} with room for {known.f_files} files"
    return None


@hole("devices")
def devices(_request: dict[str, object]) -> str | None:
    """Device files besides the plain ones and a leased accelerator's, and making one."""
    found = [
        entry.path
        for entry in os.scandir("/dev")
        if entry.name not in PLAIN_DEVICES
        and not entry.name.startswith("nvidia")
        and (
            stat.S_ISBLK(entry.stat(follow_symlinks=False).st_mode)
            or stat.S_ISCHR(entry.stat(follow_symlinks=False).st_mode)
        )
    ]
    with contextlib.suppress(OSError):
        os.mknod("/tmp/probe-device", 0o600 | stat.S_IFBLK, os.makedev(254, 0))
        found.append("a device of its own making")
    return f"{found}" if found else None


@hole("power-meters")
def power_meters(_request: dict[str, object]) -> str | None:
    """The energy, power and model-specific registers of the machine: a model must not see the meter."""
    found = [str(path) for path in Path("/dev/cpu").glob("*/msr") if os.access(path, os.R_OK)]
    for folder, _, names in os.walk("/sys"):
        for name in names:
            meter = name == "energy_uj" or (
                name.startswith(("energy", "power")) and name.endswith(("_input", "_average"))
            )
            if meter:
                with contextlib.suppress(OSError):
                    Path(folder, name).read_bytes()
                    found.append(f"{folder}/{name}")
    return f"{found[:4]}" if found else None


# -- what the process is ----------------------------------------------------------------------------------------------


def status() -> dict[str, str]:
    """Return the fields of /proc/self/status."""
    pairs = (line.partition(":") for line in Path("/proc/self/status").read_text().splitlines())
    return {name: value.strip() for name, _, value in pairs}


@hole("capabilities")
def capabilities(_request: dict[str, object]) -> str | None:
    """Any capability, in any set."""
    known = status()
    found = {name: known[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb") if int(known[name], 16)}
    return f"{found}" if found else None


@hole("new-privileges")
def new_privileges(_request: dict[str, object]) -> str | None:
    """Set-user-id files that work."""
    return None if status()["NoNewPrivs"] == "1" else "NoNewPrivs is 0"


@hole("no-filter")
def no_filter(_request: dict[str, object]) -> str | None:
    """No system call filter."""
    return None if status()["Seccomp"] == "2" else f"Seccomp is {status()['Seccomp']}"


@hole("root")
def root(_request: dict[str, object]) -> str | None:
    """The root user or group."""
    ids = {*os.getresuid(), *os.getresgid(), *os.getgroups()}
    return f"user and groups {sorted(ids)}" if 0 in ids else None


@hole("host-processes")
def host_processes(_request: dict[str, object]) -> str | None:
    """Processes of the host."""
    return "the kernel's own threads are in sight" if "kthreadd" in {comm(pid) for pid in ("1", "2")} else None


def comm(pid: str) -> str:
    """Return a process's name, empty if there is none."""
    with contextlib.suppress(OSError):
        return Path("/proc", pid, "comm").read_text().strip()
    return ""


@hole("control-groups")
def control_groups(_request: dict[str, object]) -> str | None:
    """The host's group tree in sight, or groups that can be changed."""
    paths = {line.split(":", 2)[2] for line in Path("/proc/self/cgroup").read_text().splitlines()}
    if paths != {"/"}:
        return f"the groups' names are {sorted(paths)[:2]}"
    files = Path("/sys/fs/cgroup").rglob("cgroup.procs")
    found = [str(path) for path in files if os.access(path, os.W_OK)]
    return f"{found[:4]} can be written to" if found else None


@hole("limits")
def limits(_request: dict[str, object]) -> str | None:
    """No bound on memory, processes or core files."""
    memory = first_number("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max")
    pids = first_number("/sys/fs/cgroup/pids/pids.max", "/sys/fs/cgroup/pids.max")
    core = resource.getrlimit(resource.RLIMIT_CORE)[1]
    loose = [name for name, value in (("memory", memory), ("processes", pids)) if value >= UNBOUNDED]
    return f"no bound on {loose + ['core files'] * (core != 0)}" if loose or core != 0 else None


def first_number(*paths: str) -> int:
    """Return the number in the first file that there is; unbounded if it says so or there is none."""
    for path in paths:
        with contextlib.suppress(OSError):
            text = Path(path).read_text().strip()
            return int(text) if text.isdigit() else UNBOUNDED
    return UNBOUNDED


@hole("linker-variables")
def linker_variables(_request: dict[str, object]) -> str | None:
    """The image's ENV LD_*."""
    found = [name for name in os.environ if name.startswith("LD_")]
    return f"{found} are set" if found else None


@hole("accelerator-variables")
def accelerator_variables(_request: dict[str, object]) -> str | None:
    """The image's own choice of accelerators."""
    value = os.environ.get("NVIDIA_VISIBLE_DEVICES", "")
    return f"NVIDIA_VISIBLE_DEVICES is {value!r}" if value == "all" or value.isdigit() else None


@hole("health-check")
def health_check(_request: dict[str, object]) -> str | None:
    """The image's HEALTHCHECK, run during the measurement."""
    time.sleep(max(0.0, STARTED + HEALTH_CHECK_S - time.monotonic()))
    return "the image's HEALTHCHECK ran" if Path("/tmp/health-check-ran").exists() else None


# -- the report -------------------------------------------------------------------------------------------------------


def judge(check: Check, request: dict[str, object]) -> str | None:
    """Run a check; one that breaks counts as open (rule 2)."""
    try:
        return check(request)
    except Exception as error:  # noqa: BLE001 - whatever it was, it was not a refusal
        return f"could not be judged: {type(error).__name__}: {error}"


def report(request: dict[str, object]) -> bytes:
    """Run every check; return one line of JSON."""
    found = {name: judge(check, request) for name, check in HOLES.items()}
    holes = [{"id": name, "open": detail is not None, "detail": detail or "closed"} for name, detail in found.items()]
    return json.dumps({"schema": "jouleseal-probe/1", "holes": holes}).encode() + b"\n"


def serve(path: str) -> None:
    """Answer every connection on the socket, for ever."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        while True:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                line = connection.makefile("rb").readline(4096)
                if line.strip():
                    connection.sendall(report(json.loads(line)))


def main() -> None:
    """Serve the report, or print it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    path = os.environ.get("JOULESEAL_SOCKET")
    if path:
        serve(path)
    sys.stdout.buffer.write(report(json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}))


if __name__ == "__main__":
    main()
