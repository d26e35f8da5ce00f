"""The demo's buttons that break a scan: in the page, over HTTP, and the data that they send."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from daemon.cli.demo import SCAN
from daemon.cli.demo_faults import FAULTS, DemoOrders, transposed, wrong_probe
from daemon.files import read_scan
from daemon.files.product import Product
from daemon.publish.http.demo import FOLDER_VARIABLE
from daemon.publish.http.interface import HttpServer, create_app
from daemon.publish.hub import UpdateHub
from streams.replay.faults import Faults
from tests.support.fake_daemon import FakeDaemon
from tests.support.http_server import serving
from tests.support.page_tools import PageViewer


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DemoOrders:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "orders"))
    return DemoOrders(tmp_path / "orders", SCAN)


@pytest.fixture
def server(orders: DemoOrders, source: FakeDaemon, hub: UpdateHub) -> Iterator[HttpServer]:
    with serving(create_app(source, hub)) as server:
        yield server


@pytest.mark.browser
def test_a_button_orders_the_fault(look: Callable[[], PageViewer], orders: DemoOrders) -> None:
    page = look().page
    page.get_by_role("button", name="Lost frames").press("Enter")
    page.wait_for_function("() => document.getElementById('demo-note').textContent.includes('15 %')")
    assert orders.take() == "lost-frames"
    assert orders.take() is None
    assert page.locator("#demo-buttons button").count() == len(FAULTS)


def test_other_daemons_have_no_buttons_and_take_no_orders(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert httpx.post(f"{server.url}/api/v1/demo/nonsense").status_code == 404
    monkeypatch.delenv(FOLDER_VARIABLE)
    with serving(create_app(FakeDaemon(), UpdateHub())) as other:
        assert httpx.get(f"{other.url}/api/v1/demo").json() == []
        assert httpx.post(f"{other.url}/api/v1/demo/lost-frames").status_code == 404


def test_faults_are_what_the_sender_takes() -> None:
    assert all(fault.spoil is not None or Faults.parse(fault.faults) != Faults() for fault in FAULTS.values())


def test_the_wrong_probe_changes_the_patterns_and_not_their_counts(orders: DemoOrders, tmp_path: Path) -> None:
    scan = read_scan(SCAN)
    side = scan.counts.shape[-1]
    pixel_m, few = 3e-8, np.arange(3)
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
