"""The demo's buttons that break a scan: over HTTP, and the data that they send. The page: ``test_page_sizes.py``."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np
import pytest

from daemon.cli.demo import SCAN
from daemon.cli.demo_faults import FAULTS, DemoOrders, transposed, wrong_probe
from daemon.files import read_scan
from daemon.files.product import Product
from daemon.publish.http.demo import FOLDER_VARIABLE
from daemon.publish.http.interface import create_app
from daemon.publish.hub import UpdateHub
from streams.replay.faults import Faults
from tests.support.fake_daemon import FakeDaemon
from tests.support.http_server import serving


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DemoOrders:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "orders"))
    return DemoOrders(tmp_path / "orders", SCAN)


def test_an_order_over_http(orders: DemoOrders, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(create_app(FakeDaemon(), UpdateHub())) as server:
        assert [fault["name"] for fault in httpx.get(f"{server.url}/api/v1/demo").json()] == list(FAULTS)
        assert httpx.post(f"{server.url}/api/v1/demo/late-positions").json() == {"ordered": "late-positions"}
        assert httpx.post(f"{server.url}/api/v1/demo/nonsense").status_code == 404
    assert [orders.take(), orders.take()] == ["late-positions", None]
    monkeypatch.delenv(FOLDER_VARIABLE)
    with serving(create_app(FakeDaemon(), UpdateHub())) as other:
        assert httpx.get(f"{other.url}/api/v1/demo").json() == []
        assert httpx.post(f"{other.url}/api/v1/demo/lost-frames").status_code == 404


def test_faults_are_what_the_sender_takes() -> None:
    assert all(fault.spoil is not None or Faults.parse(fault.faults) != Faults() for fault in FAULTS.values())


def test_the_wrong_probe_changes_the_patterns_and_not_their_counts(orders: DemoOrders, tmp_path: Path) -> None:
    scan = read_scan(SCAN)
    side = scan.counts.shape[-1]
    pixel_m, few = 2.8e-8, np.arange(3)
    probe = np.zeros((1, side, side), np.complex64)
    probe[0, 60:68, 60:68] = 10
    product = Product("a", "", few, few[:, None] * np.array([[pixel_m, pixel_m]]), probe, pixel_m, 8800.0, 1.92,
                      np.ones((side + 4, side + 4), np.complex64), (-side / 2, -side / 2))  # fmt: skip
    broken = wrong_probe(scan, product)
    total = float(np.square(np.abs(probe)).sum())
    np.testing.assert_allclose(broken.counts[:3].sum((1, 2)), total, rtol=0.1)
    assert broken.counts[3:].sum() == 0
    np.testing.assert_array_equal(transposed(scan, product).counts[5], scan.counts[5].T)
    assert orders.data_of("lost-frames", tmp_path) == SCAN
