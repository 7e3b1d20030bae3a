"""Lets these tests import the stand-ins of tests/standin."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "standin"))
