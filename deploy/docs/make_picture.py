"""Make the README's picture: run the demo, and take the page in the middle of the scan.

Needs Debian's chromium and playwright: ``python deploy/docs/make_picture.py``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parent / "images"
STITCHED = "(n) => (ptycholive.session.pictures.refined?.header?.frames_stitched ?? 0) >= n"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        command = [sys.executable, "-m", "daemon.cli", "demo", "--port", "0", "--output", f"{folder}/star.h5"]
        demo = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        address = demo.stderr.readline().split()[-1]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="dark")
        page.goto(address)
        page.wait_for_function(STITCHED, arg=260, timeout=120_000)
        page.screenshot(path=IMAGES / "scanning.png")
        browser.close()
        demo.terminate()
        demo.wait()


if __name__ == "__main__":
    main()
