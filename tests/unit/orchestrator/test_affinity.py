"""While a sandbox is measured, no thread and no child of the orchestrator may run on its processors."""

import os
import subprocess
import sys
import threading

from orchestrator.affinity import kept_off

ALL = os.sched_getaffinity(0)
ASK = "import os; print(sorted(os.sched_getaffinity(0)))"


def test_threads_and_children_stay_off_and_come_back():
    taken = max(ALL)
    left = ALL - {taken} or ALL  # on a machine with one processor there is nothing to keep off
    done, seen = threading.Event(), []
    waiting = threading.Thread(target=done.wait)
    waiting.start()
    with kept_off(str(taken)):
        assert os.sched_getaffinity(waiting.native_id) == left
        child = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True)
        assert child.stdout.strip() == str(sorted(left))
        inside = threading.Thread(target=lambda: seen.append(os.sched_getaffinity(0)))
        inside.start()
        inside.join()
    assert seen == [left]
    assert os.sched_getaffinity(0) == os.sched_getaffinity(waiting.native_id) == ALL
    done.set()
    waiting.join()


def test_where_no_processor_would_be_left_nothing_moves():
    with kept_off(",".join(map(str, ALL))):
        assert os.sched_getaffinity(0) == ALL
