"""A scan's frames, picture and probe: from the engine while it runs, then from its product."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daemon.engine.held_scan import HeldScan
from daemon.files.apart import Limits, read_apart
from daemon.files.product import Product, read_product
from daemon.messages import LayerName
from daemon.publish.hub import UpdateHub
from daemon.publish.snapshot import regrow
from ptychopinn.errors import FileFormatError

PRODUCT_LIMITS = Limits(answer_bytes=2 << 30)
"""Largest product that is read, 2 GiB of arrays: as for pictures of past scans."""
LAYERS: tuple[LayerName, ...] = ("refined", "network")


class ScanReader:
    """Safe from any thread; keeps the product that was read last.

    Parameters
    ----------
    held
        Gives a running scan as the engine holds it.
    product_path
        Gives the product file of a scan, None until it is written.
    given_probe
        Gives the probe ``(modes, N, N)`` that scans begin with.
    """

    def __init__(
        self,
        held: Callable[[str], HeldScan | None],
        product_path: Callable[[str], Path | None],
        given_probe: Callable[[], NDArray[np.complex64]],
        hub: UpdateHub,
    ) -> None:
        self._held = held
        self._product_path = product_path
        self._given_probe = given_probe
        self._hub = hub
        self._lock = threading.Lock()
        self._kept: tuple[Path, int, Product] | None = None

    def scan(self, scan_id: str) -> HeldScan | None:
        """Return the frames and the probe of a scan; None where neither the engine nor a product has them."""
        held = self._held(scan_id)
        if held is not None:
            return held
        product = self._product(scan_id)
        return None if product is None else _of_product(product, self._given_probe())

    def patch(
        self, scan_id: str, layer: LayerName, corner_px: tuple[int, int], side_px: int
    ) -> tuple[LayerName, NDArray[np.complex64]] | None:
        """Return the picture ``(N, N)`` at a corner [y, x] and its layer; another layer where only that exists."""
        for name in (layer, *LAYERS):
            patch = self._hub.cut(scan_id, name, corner_px, side_px)
            if patch is not None:
                return name, patch
        product = self._product(scan_id)
        if product is None:
            return None
        origin_px = round(product.object_origin_px[0]), round(product.object_origin_px[1])
        is_refined = product.live is None or product.live.refined_weight is not None
        pixels = regrow(product.object, origin_px, (side_px, side_px), corner_px)
        return "refined" if is_refined else "network", np.asarray(pixels, dtype=np.complex64)

    def _product(self, scan_id: str) -> Product | None:
        path = self._product_path(scan_id)
        try:
            if path is None:
                return None
            changed_ns = path.stat().st_mtime_ns
            with self._lock:
                if self._kept is None or self._kept[:2] != (path, changed_ns):
                    self._kept = path, changed_ns, read_apart(read_product, path, PRODUCT_LIMITS)
                return self._kept[2]
        except (OSError, FileFormatError):
            return None


def _of_product(product: Product, given_probe: NDArray[np.complex64]) -> HeldScan:
    found_px = product.positions_m / product.pixel_size_m
    measured_m = None if product.live is None else product.live.measured_position_m
    told_px = found_px if measured_m is None else measured_m / product.pixel_size_m
    rows = {int(index): row for row, index in enumerate(product.indexes)}

    def offsets_px(indexes: Sequence[int]) -> NDArray[np.float64]:
        chosen = [rows[int(index)] for index in indexes]
        return np.asarray(found_px[chosen] - told_px[chosen], dtype=np.float64)

    return HeldScan(
        indexes=product.indexes,
        told_px=told_px,
        probe=product.probe,
        first_probe=given_probe,
        offsets_px=None if measured_m is None else offsets_px,
        rfactors=dict,
        pattern=lambda _index: None,
    )
