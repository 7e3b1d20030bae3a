"""Our meter beside its peers, on one stand-in device whose truth is known: `python -m benchmarks.peers`."""
