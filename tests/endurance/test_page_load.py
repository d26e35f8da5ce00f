"""What the page costs the viewer's machine: a mosaic of 4 megapixels with 20 updates a second."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.publish.http.interface import HttpServer, create_app
from daemon.publish.hub import UpdateHub
from daemon.publish.snapshot import LayerUpdate, Region

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]
CHROMIUM = shutil.which("chromium")
SIDE, PATCH, RATE_HZ, SECONDS = 2048, 192, 20, 10
CORE_SHARE, RESIDENT_BYTES = 0.3, 500e6


def page_process() -> int:
    """Return the process of the page: the renderer of this test's Chromium that has worked most."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            command = (stat.parent / "cmdline").read_bytes()
            ancestors = _ancestors(int(stat.parent.name))
        except OSError:
            continue
        if b"--type=renderer" in command and os.getpid() in ancestors:
            found[int(stat.parent.name)] = used_s(int(stat.parent.name))
    return max(found, key=lambda process: found[process])


def _ancestors(process: int) -> list[int]:
    found = []
    while process > 1:
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(process)
    return found


def used_s(process: int) -> float:
    """Return the processor time of a process, s."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(process: int) -> int:
    """Return what a process holds of the memory."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def update(rng: np.random.Generator, number: int) -> LayerUpdate:
    """Return the change of one batch: a square of the mosaic."""
    size = SIDE if number == 0 else PATCH
    y, x = (int(rng.integers(0, SIDE - size + 1)) for _ in range(2))
    phase = rng.normal(0, 0.2, (size, size)) + 0.3
    pixels = np.exp(1j * phase).astype(np.complex64)
    region = Region(y, x, size, size, pixels, np.ones((size, size), np.float32))
    return LayerUpdate("scan", "network", (SIDE, SIDE), (0, 0), 1e-8, number, number, 0, 0.2, False, (region,), 1)


def feed(hub: UpdateHub, stop: threading.Event) -> None:
    """Publish at the rate until told to stop."""
    rng, number = np.random.default_rng(0), 0
    updates = [update(rng, k + 1) for k in range(40)]
    due = time.monotonic()
    while not stop.is_set():
        due += 1 / RATE_HZ
        hub.publish_layer(updates[number % len(updates)])
        hub.publish_status({"state": "scanning", "phase": "scanning", "scan_id": "scan", "frames_received": number})
        number += 1
        stop.wait(max(0.0, due - time.monotonic()))


class Source:
    """A daemon without anything but the hub."""

    def scans(self) -> list[Any]:
        return []

    def last_pattern(self) -> None:
        return None


def test_four_megapixels_at_twenty_updates_a_second(tmp_path: Path):
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
    if CHROMIUM is None:
        pytest.skip("the browser tests need Debian's chromium")
    hub, stop = UpdateHub(), threading.Event()
    hub.publish_layer(update(np.random.default_rng(1), 0))
    server = HttpServer(create_app(Source(), hub), "127.0.0.1", 0)
    server.start()
    feeder = threading.Thread(target=feed, args=(hub, stop))
    try:
        with playwright.sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1920, "height": 1080})
            page.set_default_timeout(100_000)
            page.goto(server.url)
            page.wait_for_function("() => ptycholive.session.pictures.network")
            page.evaluate("ptycholive.stage.settled()")
            process = page_process()
            feeder.start()
            page.wait_for_function("() => ptycholive.session.pictures.network.changes > 20")
            changes = page.evaluate("ptycholive.session.pictures.network.changes")
            begun, before = time.monotonic(), used_s(process)
            stop.wait(SECONDS)
            share = (used_s(process) - before) / (time.monotonic() - begun)
            rate = (page.evaluate("ptycholive.session.pictures.network.changes") - changes) / (time.monotonic() - begun)
            held = resident_bytes(process)
            page.screenshot(path=Path(os.environ.get("PTYCHOLIVE_SCREENSHOTS", tmp_path)) / "page-load.png")
            browser.close()
    finally:
        stop.set()
        if feeder.ident is not None:
            feeder.join()
        server.stop()
    words = f"{rate:.1f} updates/s, {share:.2f} of a core, {held / 1e6:.0f} MB"
    assert share < CORE_SHARE, words
    assert held < RESIDENT_BYTES, words
    (tmp_path / "measured.txt").write_text(words)
    if "PTYCHOLIVE_SCREENSHOTS" in os.environ:
        (Path(os.environ["PTYCHOLIVE_SCREENSHOTS"]) / "page-load.txt").write_text(words)
