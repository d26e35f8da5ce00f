"""A daemon with one scan for the tests of HTTP and the page, and one that also knows a past scan."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from websockets.sync.client import ClientConnection

from daemon.files.live_group import LiveGroup
from daemon.files.product import Product, write_product
from daemon.messages import ModelEntry, ModelStatus, Paused, Readiness, ScanFields, ScanState, Status
from daemon.publish import wire
from daemon.publish.http.interface import HttpServer
from ptychopinn.errors import FileFormatError, ReconstructionError
from tests.support import messages
from tests.support.page_tools import wavy

PATH = [(10.0 + i, 5.0 + 2 * i) for i in range(12)]


@dataclass
class FakeDaemon:
    """A daemon with one scan."""

    is_well: bool = True
    running: bool = True
    product: Path | None = None
    pattern: tuple[str, int, NDArray[np.floating]] | None = None
    stopped: list[str] = field(default_factory=list)

    def status(self) -> Status:
        return messages.status(rfactor={"network": float("nan"), "refined": None}, frames_stitched=np.int64(3))

    def readiness(self) -> Readiness:
        return messages.readiness(ready=self.is_well)

    def metrics_text(self) -> tuple[bytes, str]:
        return b"ptycholive_up 1\n", "text/plain; version=0.0.4; charset=utf-8"

    def scans(self) -> list[ScanFields]:
        return [messages.scan()]

    def scan(self, scan_id: str) -> ScanFields | None:
        return next((scan for scan in self.scans() if scan["id"] == scan_id), None)

    def stop_scan(self, scan_id: str) -> bool:
        self.stopped.append(scan_id)
        return self.running

    def product_path(self, scan_id: str) -> Path | None:
        return self.product

    def last_pattern(self) -> tuple[str, int, NDArray[np.floating]] | None:
        return self.pattern

    def models(self) -> list[ModelEntry]:
        return [{"name": "lift", "sha256": None, "active": True, "generation": 0}]

    def use_model(self, name: str) -> ModelStatus:
        if name != "lift":
            raise FileFormatError(f"there is no model named {name}; known models: lift")
        return {"name": name, "generation": 1}


def updates_url(server: HttpServer) -> str:
    return f"ws://127.0.0.1:{server.port}/api/v1/updates"


def receive(viewer: ClientConnection) -> wire.Message:
    data = viewer.recv(timeout=20)
    assert isinstance(data, bytes)
    return wire.decode_ws(data)


class PastDaemon(FakeDaemon):
    """A daemon that also knows a past scan, a path and fine-tuning."""

    def __init__(self) -> None:
        super().__init__(pattern=("scan-1", 17, np.ones((16, 16))))
        self.orders: list[bool] = []

    def scans(self) -> list[ScanFields]:
        return [messages.scan(), messages.scan("old", state=ScanState.COMPLETE)]

    def product_path(self, scan_id: str) -> Path | None:
        return self.product if scan_id == "old" else None

    def path_px(self, scan_id: str, after: int, most: int, *, told: bool = False) -> list[tuple[float, float]] | None:
        return PATH[after : after + min(most, 5)] if scan_id == "scan-1" else None

    def set_finetune_paused(self, is_paused: bool) -> Paused:
        if len(self.orders) > 1:
            raise ReconstructionError("fine-tuning is off")
        self.orders.append(is_paused)
        return {"paused": is_paused}


def write_old_product(path: Path) -> np.ndarray:
    """Write a product of 30 x 20 pixels and return its object."""
    picture = wavy((30, 20), 0.3)
    live = LiveGroup(2 * picture, np.ones((30, 20), np.float32), (4.0, 5.0), np.ones((30, 20), np.float32))
    probe = np.ones((1, 8, 8), dtype=np.complex64)
    where = np.array([[10.0, 9.0], [12.0, 11.0]]) * 1e-8
    product = Product("old", "", np.arange(2), where, probe, 1e-8, 8000.0, 2.0, picture, (4.0, 5.0), live)
    write_product(path, product)
    return picture
