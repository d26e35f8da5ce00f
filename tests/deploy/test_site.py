"""The figure of the architecture names places that exist; the site's own build checks its links (make site)."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_architecture_figure_names_places_that_exist():
    figure = (ROOT / "deploy/docs/images/architecture.svg").read_text(encoding="utf-8")
    places = re.findall(r">((?:streams|ptychopinn|daemon)/[\w/.]*)<", figure)
    assert len(places) >= 10
    assert [place for place in places if not (ROOT / place).exists()] == []
