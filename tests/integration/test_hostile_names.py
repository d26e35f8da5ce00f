"""What a stream calls its scans becomes no path, no metric label, no unescaped HTML and no line of the log."""

from __future__ import annotations

import json
import logging
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from daemon.client import Viewer
from daemon.service.logs import TextFormatter
from tests.support.daemon_tools import PATIENCE_S, follow, real_scan, running_daemon, send

NAMES = (
    "../../../outside",
    "/tmp/absolute",
    "<script>alert(1)</script>",
    'a"b\r\nSet-Cookie: x=y',
    "line\nbreak \x1b[31mred",
    "latest",
    "scan.json",
    "..",
    "x" * 400,
    "naïve ☃",
)
PAGE = Path(__file__).parents[2] / "daemon" / "publish" / "page"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)


def test_hostile_names_stay_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with running_daemon(tmp_path) as daemon, httpx.Client(base_url=daemon.addresses()["http"]) as client:
        ids = []
        with Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
            for name in NAMES:
                send(daemon, real_scan(), 3, scan_id=name)
                ended, _ = follow(viewer)
                assert ended["verdict"]["received"] == 3
                ids.append(ended["scan_id"])
        assert len(set(ids)) == len(NAMES)
        for scan_id in ids:
            assert scan_id not in ("latest", "..", ".")
            product = client.get(f"/api/v1/scans/{scan_id}/product.h5")
            assert product.status_code == 200
            assert set(product.headers) >= {"content-disposition"}
            assert "set-cookie" not in product.headers
        listed = client.get("/api/v1/scans")
        assert [scan["id"] for scan in json.loads(listed.text)] == ids[::-1]
        labels = {
            value
            for family in text_string_to_metric_families(client.get("/metrics").text)
            for sample in family.samples
            for value in sample.labels.values()
        }
        assert not labels & {*NAMES, *ids}
        page = Tags()
        page.feed(client.get("/docs").text)
        assert "script" not in page.seen
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} - {"journal", ".daemon"} == set(ids)
    assert {path.name for path in tmp_path.iterdir()} <= {"out", "test.toml"}
    assert not Path("/tmp/absolute").exists()
    lines = [TextFormatter().format(record) for record in caplog.records]
    assert sum("started" in line for line in lines) >= len(NAMES)
    assert all(line.isprintable() for line in lines)


def test_the_page_writes_text_and_never_markup() -> None:
    scripts = list(PAGE.glob("**/*.js"))
    assert scripts
    for script in scripts:
        text = script.read_text()
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "http://",
        ):
            assert word not in text.replace("http://www.w3.org", ""), f"{script.name}: {word}"
