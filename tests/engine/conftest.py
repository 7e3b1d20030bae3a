"""What tests with a real engine share: the hostile vendors' images, built once."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def hostile() -> dict[str, str]:
    """The hostile vendors' images by the name of what is wrong with them."""
    spec = importlib.util.spec_from_file_location("hostile_build", Path(__file__).parent / "hostile" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build()
