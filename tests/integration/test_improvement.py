"""A closed scan whose picture gets better while nothing else is to be done."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.client import Viewer
from daemon.files import read_product
from daemon.messages import FrcFields
from tests.support.daemon_tools import PATIENCE_S, follow, real_scan, running_daemon, send
from tests.support.messages import check

FRAMES = 64


def test_the_product_is_written_anew_with_a_lower_r(tmp_path: Path) -> None:
    settings = ("refine.enabled=true", "refine.finish_s=0", "refine.improve_s=60")
    with running_daemon(tmp_path, *settings) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        send(daemon, real_scan(), FRAMES)
        ended, _ = follow(viewer)
        first = read_product(Path(ended["product"]))
        for _, _, canvas in viewer.events():
            record = daemon.scans.get("star").record
            if record.rfactor < ended["rfactors"]["refined"] and canvas is None:
                break
        product = read_product(Path(ended["product"]))
        picture = viewer.states["star", "refined"]
    assert record.state == "complete"
    assert record.ended is not None
    assert product.live.rfactors["refined"] == record.rfactor < first.live.rfactors["refined"]
    assert product.live.verdict == first.live.verdict
    assert product.live.frc_nm == record.frc_nm
    frequency, correlation = product.live.frc.T
    assert product.live.frc_criterion == "half-bit"
    assert frequency[-1] == pytest.approx(0.5 / product.pixel_size_m, rel=0.02)
    assert correlation[1] > 0.5 > correlation[-5]
    told = daemon.metrics.value("ptycholive_frc_nm", layer="refined")
    assert told == (
        None if record.frc_nm is None else pytest.approx(record.frc_nm, rel=0.1)
    )  # so few frames may be too few
    status = daemon.view.status()
    check(FrcFields, status["frc"])
    assert status["frc_nm"] == record.frc_nm == record.frc["frc_nm"]
    assert picture.complete
    assert picture.rfactor == record.rfactor
