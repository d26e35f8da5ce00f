"""The buttons of the demo's page that break a scan, to show how the assessment reacts.

The daemon of a demo gets a folder (:data:`daemon.publish.http.demo.FOLDER_VARIABLE`): ``faults.json`` lists the buttons, and
the daemon writes the name of the one that was pressed into ``order``. The next scan is then sent with that fault.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daemon.files import ScanFile, read_scan
from daemon.files.conversion import SCAN_WRITERS
from daemon.files.product import Product, read_product
from daemon.publish.http.demo import FAULTS_FILE, ORDER_FILE

SPOT_M, FOCUS_M = 0.6e-6, 4e-3
"""Radius of the other beam at 1/e, and distance to its focus: as in the measurements of ``how-to/assessment.md``."""
ENERGY_EV, DISTANCE_M, PIXEL_M = 8800.0, 1.92, 75e-6
"""As in the configuration of the demo."""
METRES_EV = 1.2398419843320026e-6
"""Wavelength times photon energy, m eV."""


@dataclass(frozen=True, slots=True)
class DemoFault:
    """A button; ``faults`` is an option of ``replay``, ``spoil`` makes other data of the scan and the finished product."""

    title: str
    about: str
    faults: str = ""
    spoil: Callable[[ScanFile, Product], ScanFile] | None = None


def wrong_probe(scan: ScanFile, product: Product) -> ScanFile:
    """Return the scan as another beam would give it: simulated from the picture, with photon noise."""
    side = scan.counts.shape[-1]
    probe = other_beam(product.probe, product.pixel_size_m)
    corners = (
        np.round(product.positions_m / product.pixel_size_m - np.array(product.object_origin_px)).astype(int)
        - side // 2
    )
    rng = np.random.default_rng(0)
    counts = np.zeros(scan.counts.shape, dtype=np.uint16)
    row_of = {int(index): row for row, index in enumerate(scan.indexes)}
    for index, (top, left) in zip(product.indexes.tolist(), corners.tolist(), strict=True):
        patch = product.object[top : top + side, left : left + side]
        if patch.shape == (side, side):
            far = np.fft.fftshift(np.fft.fft2(probe * patch, norm="ortho"), axes=(-2, -1))
            counts[row_of[index]] = np.minimum(rng.poisson(np.square(np.abs(far)).sum(0)), 65534)
    return replace(scan, counts=counts)


def other_beam(probe: NDArray[np.complex64], pixel_m: float) -> NDArray[np.complex64]:
    """Return the probe ``(1, N, N)`` of another beam with as many photons: a round spot that converges."""
    half = probe.shape[-1] // 2
    y, x = (np.mgrid[: 2 * half, : 2 * half] - half) * pixel_m
    square = y**2 + x**2
    spot = np.exp(-square / SPOT_M**2 - 1j * np.pi * square / (METRES_EV / ENERGY_EV * FOCUS_M))
    photons = float(np.square(np.abs(probe)).sum())
    scale = np.sqrt(photons / float(np.square(np.abs(spot)).sum()))
    modes: NDArray[np.complex64] = (spot * scale).astype(np.complex64)[None]
    return modes


def transposed(scan: ScanFile, _product: Product) -> ScanFile:
    """Return the scan of a detector that is mounted the other way round."""
    return replace(scan, counts=np.ascontiguousarray(scan.counts.swapaxes(-1, -2)))


FAULTS: dict[str, DemoFault] = {
    "lost-frames": DemoFault("Lost frames", "15 % of the frames never arrive", "drop=0.15"),
    "late-positions": DemoFault("Late positions", "the positions come 14 s after their frames", "late-positions=14"),
    "wrong-probe": DemoFault("Wrong probe", "the beam differs from the configured probe", "", wrong_probe),
    "wrong-orientation": DemoFault("Wrong orientation", "the detector is mounted transposed", "", transposed),
}


class DemoOrders:
    """The folder of a demo: what its page offers, and what was ordered."""

    def __init__(self, folder: Path, scan: Path) -> None:
        self.folder = folder
        self._scan = scan
        self._made: dict[str, Path] = {}
        folder.mkdir(exist_ok=True)
        offered = [{"name": name, "title": fault.title, "about": fault.about} for name, fault in FAULTS.items()]
        (folder / FAULTS_FILE).write_text(json.dumps(offered), encoding="utf-8")

    def take(self) -> str | None:
        """Return the name of the button that was pressed since the last call, if one was."""
        try:
            name = (self.folder / ORDER_FILE).read_text(encoding="utf-8").strip()
            (self.folder / ORDER_FILE).unlink()
        except FileNotFoundError:
            return None
        return name if name in FAULTS else None

    def data_of(self, name: str | None, product: Path) -> Path:
        """Return the file to send for a fault; `product` is that of the good scan."""
        spoil = None if name is None else FAULTS[name].spoil
        if name is None or spoil is None:
            return self._scan
        if name not in self._made:
            path = self.folder / f"{name}.cxi"
            spoiled = spoil(read_scan(self._scan), read_product(product))
            stated = replace(
                spoiled, photon_energy_eV=ENERGY_EV, detector_distance_m=DISTANCE_M, detector_pixel_size_m=PIXEL_M
            )
            SCAN_WRITERS["cxi"](path, stated)
            self._made[name] = path
        return self._made[name]
