"""The wizard in the browser: a stream is heard, a configuration is made, downloaded and saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from daemon.attach.page_wizard import PageWizard
from daemon.config import load_config
from daemon.config.input import Frames
from daemon.publish.http.interface import create_wizard_app
from tests.support.daemon_tools import PATIENCE_S, PROBE, real_scan
from tests.support.detectors import detector
from tests.support.http_server import serving
from tests.support.page_tools import WATCH_POLICY

pytestmark = pytest.mark.browser


def test_a_stream_becomes_a_configuration_by_keyboard(browser: Any, tmp_path: Path) -> None:
    with (
        detector(real_scan().counts[:70], "dectris-v2") as endpoint,
        serving(create_wizard_app(PageWizard(lambda: tmp_path))) as server,
    ):
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.set_default_timeout(1000 * PATIENCE_S)
        page.add_init_script(WATCH_POLICY)
        page.goto(server.url)
        page.wait_for_function("() => document.querySelectorAll('#position-kind option').length > 3")
        page.keyboard.type(endpoint)
        page.keyboard.press("Enter")
        page.wait_for_selector("#answers:not([hidden])")
        assert "dectris-v2 over a PULL socket" in page.text_content("#heard-text")
        for text in ("nine", "1.92 m", "75"):
            page.keyboard.type(text)
            page.keyboard.press("Tab")
        page.fill("[name=probe]", str(PROBE))
        page.select_option("#position-kind", "raster")
        page.fill("[name=shape]", "40x60")
        page.fill("[name=step]", "0.5, 400 nm")
        page.keyboard.press("Enter")
        page.wait_for_function(
            "() => document.querySelector('#answers-note').textContent.includes('\\'nine\\' is not a number')"
        )
        page.fill("[name=energy]", "8800 eV")
        page.keyboard.press("Enter")
        page.wait_for_selector("#cut:not([hidden])")
        page.click("#keep")
        page.wait_for_function("() => document.querySelector('#made-note').textContent.startsWith('Saved as')")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        with page.expect_download() as download:
            page.click("#download")
        downloaded = Path(download.value.path()).read_text(encoding="utf-8")
        assert page.evaluate("violations") == []
        page.close()
        (saved,) = tmp_path.glob("*.toml")
        assert saved.read_text(encoding="utf-8") == downloaded
        config = load_config(saved)
        assert (config.optics.photon_energy_eV, config.positions.step_m) == (8800, (5e-7, 4e-7))
        assert config.frames.endpoint == endpoint
        assert config.detector.center_px != "auto"


def test_the_wizard_takes_no_frames_from_its_own_daemon(tmp_path: Path) -> None:
    own = Frames.model_validate({"endpoint": "tcp://127.0.0.1:31001", "format": "dectris-v2"})
    with serving(create_wizard_app(PageWizard(lambda: tmp_path, own)), token="secret") as server:
        route, key = f"{server.url}/api/v1/attach", {"Authorization": "Bearer secret"}
        assert httpx.post(f"{route}/stream", json={"endpoint": own.endpoint}).status_code == 401
        for endpoint in (own.endpoint, "tcp://localhost:31001"):
            answer = httpx.post(f"{route}/stream", json={"endpoint": endpoint}, headers=key)
            assert (answer.status_code, "second receiver" in answer.json()["detail"]) == (409, True)
        assert httpx.post(f"{route}/configuration", json={}, headers=key).status_code == 409
        assert httpx.post(f"{route}/stream", json={"endpoint": "star"}, headers=key).status_code == 422
