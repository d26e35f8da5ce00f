"""System tests use the tools of the integration tests, from outside the processes."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
