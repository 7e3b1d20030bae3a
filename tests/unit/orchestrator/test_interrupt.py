"""A signal stops the corridor where that is safe, once, and nowhere else."""

import os
import signal
import subprocess
import sys

import pytest

from orchestrator.interrupt import Interrupts
from protocol.errors import Interrupted


def test_a_signal_inside_the_allowed_block_raises_there():
    with Interrupts().installed() as interrupts, pytest.raises(Interrupted, match="SIGTERM"), interrupts.allowed():
        os.kill(os.getpid(), signal.SIGTERM)
        signal.sigtimedwait([], 1)


def test_a_signal_outside_waits_for_the_next_allowed_block():
    with Interrupts().installed() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        recorded = "whole"
        with pytest.raises(Interrupted, match="SIGINT"), interrupts.allowed():
            recorded = "half"
        assert recorded == "whole"


def test_a_second_signal_does_not_cut_the_tidying_short():
    with Interrupts().installed() as interrupts:
        with pytest.raises(Interrupted), interrupts.allowed():
            os.kill(os.getpid(), signal.SIGINT)
            signal.sigtimedwait([], 1)
        os.kill(os.getpid(), signal.SIGINT)
        with interrupts.allowed():
            tidied = True
        assert tidied


def test_the_handlers_are_given_back():
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts().installed():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_where_only_the_end_follows_a_signal_after_the_block_is_ignored():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with Interrupts(last=True).installed():
            os.kill(os.getpid(), signal.SIGINT)  # kept, and nothing is left that it could stop
        for number in before:
            os.kill(os.getpid(), number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


COMMAND = """\
import atexit, os, signal, sys
from orchestrator import cli
from orchestrator.interrupt import Interrupts
from protocol.errors import Interrupted


class Late:
    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.{name}):
        kill(pid, number)


def recorded(arguments):
    with Interrupts(last=arguments.last).installed():
        print("recorded", flush=True)
        if {interrupted}:
            raise Interrupted(observed="Ctrl-C", expected="no Ctrl-C", hint="again")
    return 0


cli._dispatch = recorded
if {late}:
    late = Late()  # is taken down with the interpreter, when Python has let go of the signals already
else:
    atexit.register(os.kill, os.getpid(), signal.{name})
sys.argv = ["jouleseal", "doctor"]
cli.entry()
"""


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(("interrupted", "code"), [(False, 0), (True, Interrupted.exit_code)])
def test_a_signal_while_the_interpreter_shuts_down_does_not_change_the_exit_code(name, late, interrupted, code):
    words = [sys.executable, "-c", COMMAND.format(name=name, late=late, interrupted=interrupted)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "recorded\n"), done.stderr
    assert "Traceback" not in done.stderr
