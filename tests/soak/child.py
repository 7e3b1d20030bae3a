"""One parser, one process, so many executions: `python -m tests.soak.child TARGET EXECUTIONS FOLDER`.

With atheris the fuzzer is guided by the coverage of our own code; without it the mutations are our own. Either way the
process may take no more memory and no execution more time than is named here, and a finding ends it with its input in
FOLDER. What it did is the last line of its output, as JSON.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
from pathlib import Path

MAX_MEMORY = 2 << 30  # bytes of address space: a parser of 16 KiB inputs needs a hundredth of it
MAX_SECONDS = 10  # of one execution: the slowest honest one takes some milliseconds
MUTATION_SEED = 20_261_123


def main() -> int:
    """Run one target."""
    name, executions, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import atheris  # noqa: PLC0415 - a tool of `make soak` alone
    except ImportError:
        return _own(name, executions, folder)
    with atheris.instrument_imports(include=["protocol", "verifier", "orchestrator"]):
        from tests.soak.target import MAX_INPUT  # noqa: PLC0415 - instrumented as they are imported
        from tests.soak.targets import TARGETS  # noqa: PLC0415 - as above
    target = next(target for target in TARGETS if target.name == name)
    corpus = folder / f"corpus-{name}"
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    options = [f"-runs={executions}", f"-max_len={MAX_INPUT}", f"-timeout={MAX_SECONDS}", "-print_final_stats=1"]
    options += ["-rss_limit_mb=1024", "-seed=20261123", f"-artifact_prefix={folder}/{name}-"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], target.run)
    atheris.Fuzz()  # leaves the process by itself, with libFuzzer's exit code
    return 0


def _own(name: str, executions: int, folder: Path) -> int:
    from tests.soak.mutation import mutations  # noqa: PLC0415 - see main
    from tests.soak.target import MAX_INPUT  # noqa: PLC0415 - see main
    from tests.soak.targets import TARGETS  # noqa: PLC0415 - see main

    target = next(target for target in TARGETS if target.name == name)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    accepted, began = 0, time.monotonic()
    for data in mutations(target.seeds(), executions, seed=MUTATION_SEED, limit=MAX_INPUT):
        signal.alarm(MAX_SECONDS)  # unhandled: it ends the process, which the parent reports as a hang
        try:
            accepted += target.run(data)
        except BaseException:
            (folder / f"{name}-crash").write_bytes(data)
            raise
    signal.alarm(0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(
        json.dumps({"executions": executions, "accepted": accepted, "seconds": time.monotonic() - began, "mib": peak})
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
