"""A program whose work the stand-in accelerator feels: it raises the pulse for so many seconds, and ends with its work.

python worker.py DEVICE_SCRIPT SECONDS [EXIT_STATUS]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path


def main() -> int:
    script, seconds = Path(sys.argv[1]), float(sys.argv[2])
    begin = time.monotonic_ns()
    beside = script.with_suffix(".worker")
    beside.write_text(script.read_text() + f"pulse_ns {begin}\npulse_end_ns {begin + int(seconds * 1e9)}\n")
    beside.rename(script)
    time.sleep(seconds)
    return int(sys.argv[3]) if len(sys.argv) > 3 else 0


if __name__ == "__main__":
    sys.exit(main())
