"""The engine hears of a container's end later than the kernel, and is not believed until it has."""

import os
import subprocess

from orchestrator.launch.engine import _outdated


def test_an_engine_that_has_not_heard_of_an_end_is_outdated():
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        state = {"Running": True, "Pid": process.pid}
        assert not _outdated(state)
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert _outdated(state), "a process that nobody has waited for has ended all the same"
        process.wait()
        assert _outdated(state)
        assert not _outdated({**state, "Running": False})
        assert not _outdated({})
