"""Follows a running daemon: its picture as ptychodus' object, again and again until the scan ends."""

import io
import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
from ptychodus.api.object import Object, ObjectCenter
from ptychodus.api.product import Product
from ptychodus.api.reconstruct import ReconstructInput, Reconstructor, ReconstructOutput

from ptycholive_ptychodus.settings import PtycholiveSettings

logger = logging.getLogger("ptycholive")
RUNNING = ("scanning", "finishing")


class LiveReconstructor(Reconstructor):
    """Shows what a daemon reconstructs; the patterns that ptychodus holds are not used."""

    def __init__(self, settings: PtycholiveSettings) -> None:
        self._settings = settings

    @property
    def name(self) -> str:
        """The name in lists and, after the library's, in settings."""
        return "Live"

    def get_progress_goal(self) -> int:
        """Return the frames of the scan where they are known; else 0."""
        return 0

    def reconstruct(self, parameters: ReconstructInput) -> Iterator[ReconstructOutput]:
        """Yield the product whenever more frames were stitched, and once more when the scan has ended.

        Raises
        ------
        RuntimeError
            If the daemon cannot be reached, refuses the token, or has no such scan within the time allowed.
        """
        daemon = Daemon(self._settings)
        scan_id, shown = daemon.wait_for_scan(), -1
        while True:
            is_running = daemon.state(scan_id) in RUNNING
            picture, origin_px, frames = daemon.picture(scan_id)
            if frames > shown or (not is_running and frames > 0):
                shown = frames
                yield ReconstructOutput(product=with_picture(parameters.product, picture, origin_px), progress=frames)
            if not is_running:
                return
            time.sleep(self._settings.period_s.get_value())


class Daemon:
    """What is asked of a daemon over HTTP."""

    def __init__(self, settings: PtycholiveSettings) -> None:
        self._url = settings.url.get_value().rstrip("/")
        self._wanted = settings.scan.get_value()
        self._period_s, self._timeout_s = settings.period_s.get_value(), settings.timeout_s.get_value()
        token_file = settings.token_file.get_value()
        self._headers = {}
        if token_file:
            token = Path(token_file).read_text(encoding="utf-8").split("\n", 1)[0].strip()
            self._headers["Authorization"] = f"Bearer {token}"

    def wait_for_scan(self) -> str:
        """Return the id of the scan to follow: the one that is set, else the newest that runs or comes."""
        end = time.monotonic() + self._timeout_s
        while True:
            scans = json.loads(self._get("/api/v1/scans")[0])
            for scan in scans:
                if scan["id"] == self._wanted or (not self._wanted and scan["state"] in RUNNING):
                    return str(scan["id"])
            if time.monotonic() > end:
                what = f"no scan {self._wanted}" if self._wanted else "no running scan"
                raise RuntimeError(f"{self._url} has {what}; start one, or set [Ptycholive] scan and timeout_s")
            time.sleep(self._period_s)

    def state(self, scan_id: str) -> str:
        """Return the state of a scan."""
        return str(json.loads(self._get(f"/api/v1/scans/{scan_id}")[0])["state"])

    def picture(self, scan_id: str) -> tuple[numpy.ndarray, tuple[int, int], int]:
        """Return the picture, its first pixel's place and the stitched frames; nothing while there is none."""
        try:
            content, headers = self._get(f"/api/v1/scans/{scan_id}/snapshot.npy")
        except FileNotFoundError:
            return numpy.zeros((0, 0), numpy.complex64), (0, 0), 0
        y, x = (int(number) for number in headers["X-Origin-Px"].split(","))
        return numpy.load(io.BytesIO(content), allow_pickle=False), (y, x), int(headers["X-Frames-Stitched"])

    def _get(self, path: str) -> tuple[bytes, Any]:
        request = urllib.request.Request(self._url + path, headers=self._headers)
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as answer:
                return answer.read(), answer.headers
        except urllib.error.HTTPError as fault:
            if fault.code == 404:
                raise FileNotFoundError(path) from None
            raise RuntimeError(f"{self._url}{path} answers {fault.code} {fault.reason}; check the token file") from None
        except (urllib.error.URLError, OSError) as fault:
            cause = getattr(fault, "reason", fault)
            raise RuntimeError(
                f"{self._url} cannot be reached ({cause}); start the daemon, or set [Ptycholive] url"
            ) from None


def with_picture(product: Product, picture: numpy.ndarray, origin_px: tuple[int, int]) -> Product:
    """Return ``product`` with a picture as its object; the pixel is that of the product's object."""
    pixel = product.object_.get_pixel_geometry()
    height, width = picture.shape
    center = ObjectCenter(
        x_m=(origin_px[1] + (width - 1) / 2) * pixel.width_m, y_m=(origin_px[0] + (height - 1) / 2) * pixel.height_m
    )
    return Product(
        metadata=product.metadata,
        probe_positions=product.probe_positions,
        probes=product.probes,
        object_=Object(picture, pixel.copy(), center),
        losses=[],
    )
