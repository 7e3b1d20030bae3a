"""A signal stops the corridor where that is safe, once, and nowhere else."""

import os
import signal

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
