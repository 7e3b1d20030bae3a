"""What tests with a real engine share: the hostile vendors' images, built once."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "hostile"))

from build import build as build_hostile


@pytest.fixture(scope="session")
def hostile() -> dict[str, str]:
    """The hostile vendors' images by the name of what is wrong with them."""
    return build_hostile()
