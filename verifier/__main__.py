"""`python -m verifier`: the same as `jouleseal-verify`, where scripts are not on the path."""

from verifier.cli import entry

entry()
