"""`jouleseal meter` in a real control group: the command's own CPU time and memory, and what it leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli import main

pytestmark = pytest.mark.engine


def meter(capfd: pytest.CaptureFixture[str], *command: str) -> tuple[int, dict]:
    status = main(["meter", "--json", "--", *command])
    return status, json.loads(capfd.readouterr().out)


def test_a_busy_command_costs_more_than_a_sleeping_one(capfd) -> None:
    _, asleep = meter(capfd, "sleep", "1")
    status, busy = meter(capfd, "timeout", "1", "sh", "-c", "while :; do :; done")
    assert status == 0
    assert busy["command"]["exit_status"] == 124
    cpu, rest = busy["channels"]["cpu"], asleep["channels"]["cpu"]
    assert cpu["kind"] == rest["kind"]
    assert cpu["joules"] > rest["joules"]
    assert cpu["idle_net_joules"] > 10 * abs(rest["idle_net_joules"])
    assert busy["channels"]["dram"]["joules"] > 0


def test_what_runs_on_after_the_command_voids_its_window(capfd) -> None:
    status, found = meter(capfd, "sh", "-c", "sleep 3 & exit 0")
    assert status == 5
    assert found["reasons"][0]["code"] == "PROCESSES_LEFT"
    assert all(channel["joules"] is None for channel in found["channels"].values())


def test_no_group_stays_behind(capfd) -> None:
    meter(capfd, "sh", "-c", "sleep 4 & exit 0")
    assert not list(Path("/sys/fs/cgroup").glob("**/jouleseal-meter-*"))
