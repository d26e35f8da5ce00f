"""Environments of what others wrote, built once and reused."""

from pathlib import Path

import pytest

from tests.support.ptychodus_environment import make_environment


@pytest.fixture(scope="session")
def ptychodus_python() -> Path:
    return make_environment()
