"""System tests use the tools of the integration tests, from outside the processes."""

import sys
from pathlib import Path

import pytest
from ptychodus_environment import make_environment

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))


@pytest.fixture(scope="session")
def ptychodus_python() -> Path:
    return make_environment()
