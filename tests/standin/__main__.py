"""Run a command on a simulated accelerator: power that follows what Jouleseal's sandboxes and metered commands compute.

    python -m tests.standin [--tick-ms N] [--idle-w W] [--cpu-w W] [--set KEY=VALUE]... -- COMMAND...

The command finds the device through the real NVML binding; nothing else on the machine does, and no sandbox. Needs gcc.
What the command has Jouleseal launch or meter is felt. Keys: at the head of tests/standin/nvml.c.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
from pathlib import Path

from tests.standin.simulation import IDLE_W, PERIOD_MS, TICK_MS, WATTS_PER_CPU, Settings, run, simulation


def _setting(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not (key and separator):
        raise argparse.ArgumentTypeError("say KEY=VALUE, as in name=Another or 'device 1 error'=15")
    return key, value


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m tests.standin", description="Run a command on a simulated accelerator."
    )
    made.add_argument("--devices", type=int, default=1, choices=range(1, 9), help="how many (default 1)")
    made.add_argument("--tick-ms", type=int, default=TICK_MS, help=f"the counter's update (default {TICK_MS})")
    made.add_argument("--idle-w", type=int, default=IDLE_W, help=f"watts at rest (default {IDLE_W})")
    made.add_argument(
        "--cpu-w", type=int, default=WATTS_PER_CPU, help=f"watts more per busy CPU (default {WATTS_PER_CPU})"
    )
    made.add_argument("--period-ms", type=int, default=PERIOD_MS, help=f"how often work is felt (default {PERIOD_MS})")
    made.add_argument("--set", type=_setting, action="append", default=[], metavar="KEY=VALUE", help="one more key")
    made.add_argument("--folder", type=Path, help="an empty or new folder in which script and ring are left")
    made.add_argument("command", nargs="+", metavar="COMMAND")
    return made


def main() -> int:
    arguments = parser().parse_args()
    if shutil.which(arguments.command[0]) is None:
        print(f"stand-in: no program {arguments.command[0]!r}", file=sys.stderr)
        return 127
    settings = Settings(
        devices=arguments.devices,
        tick_ms=arguments.tick_ms,
        idle_w=arguments.idle_w,
        watts_per_cpu=arguments.cpu_w,
        period_ms=arguments.period_ms,
        more=dict(arguments.set),
    )
    with contextlib.ExitStack() as stack:
        if arguments.folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jouleseal-standin-")))
        else:
            folder = arguments.folder.resolve()
            folder.mkdir(parents=True, exist_ok=True)
        simulated = stack.enter_context(simulation(folder, settings))
        print(f"stand-in: SIMULATED device, not hardware: {' '.join(simulated.uuids)}", file=sys.stderr, flush=True)
        return run(arguments.command, simulated)


if __name__ == "__main__":
    sys.exit(main())
