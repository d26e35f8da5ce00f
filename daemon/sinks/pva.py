"""The live picture as EPICS PV Access channels: NTNDArray of phase and amplitude, and the state of the scan.

``PREFIX`` + ``Phase`` (radians, without the global phase), ``Amplitude``, ``ScanId``, ``State``, ``FramesStitched``,
``FramesExpected`` (0: unknown), ``RFactor`` (NaN: unknown). All are read-only.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from p4p.nt import NTNDArray, NTScalar
from p4p.server import Server
from p4p.server.thread import SharedPV
from pydantic import Field

from daemon.config import Section
from daemon.messages import ScanState, VerdictFields
from daemon.publish.png import without_global_phase
from daemon.publish.snapshot import LayerCanvas
from daemon.sinks.base import Sink

IMAGES = ("Phase", "Amplitude")
IMAGE = NTNDArray()
BLANK = np.zeros((1, 1), dtype=np.float32)


class PvaOptions(Section):
    """Options of the sink ``pva``."""

    prefix: str = Field("PTYCHO:", pattern=r"^[A-Za-z0-9_:.\-]{1,40}$", description="Prefix of every channel's name.")
    interface: str = Field("127.0.0.1", description="Address to serve on; PV Access knows no passwords.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(5075, description="TCP port; 0 takes a free one.")
    search_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        5076, description="UDP port for searches; 0: a free one."
    )
    max_side_px: Annotated[int, Field(ge=16)] = Field(
        2048, description="Larger pictures are binned until they fit, px."
    )


class PvaSink(Sink):
    """Serves the channels while the daemon runs; ``client_conf`` lets a client on this machine find them."""

    def __init__(self, options: PvaOptions) -> None:
        self._options = options
        self._server: Server | None = None
        self._count = 0
        self.client_conf: dict[str, str] = {}

    def open(self) -> None:
        """Serve the channels, empty."""
        options = self._options
        self._channels = {name: SharedPV(initial=IMAGE.wrap(BLANK)) for name in IMAGES}
        self._channels |= {name: SharedPV(nt=NTScalar("s"), initial="") for name in ("ScanId", "State")}
        self._channels |= {name: SharedPV(nt=NTScalar("l"), initial=0) for name in ("FramesStitched", "FramesExpected")}
        self._channels["RFactor"] = SharedPV(nt=NTScalar("d"), initial=math.nan)
        names = {options.prefix + name: channel for name, channel in self._channels.items()}
        conf = {
            "EPICS_PVAS_INTF_ADDR_LIST": options.interface,
            "EPICS_PVAS_SERVER_PORT": str(options.port),
            "EPICS_PVAS_BROADCAST_PORT": str(options.search_port),
            "EPICS_PVAS_AUTO_BEACON_ADDR_LIST": "NO" if options.interface.startswith("127.") else "YES",
        }
        self._server = Server(providers=[names], conf=conf, useenv=False)
        found = self._server.conf()
        self.client_conf = {
            "EPICS_PVA_ADDR_LIST": options.interface,
            "EPICS_PVA_AUTO_ADDR_LIST": "NO",
            "EPICS_PVA_BROADCAST_PORT": found["EPICS_PVAS_BROADCAST_PORT"],
        }

    def _post(self, name: str, value: str | float) -> None:
        self._channels[name].post(value, timestamp=time.time())

    def start_scan(self, scan_id: str, expected_frames: int | None) -> None:
        """Show the scan's name; the last picture stays until there is a new one."""
        self._post("ScanId", scan_id)
        self._post("FramesStitched", 0)
        self._post("FramesExpected", expected_frames or 0)
        self._post("RFactor", math.nan)
        self._post("State", "scanning")

    def show(self, picture: LayerCanvas) -> None:
        """Post phase and amplitude of one picture, with one ``uniqueId``."""
        pixels, binning = binned(picture.object, picture.weight, self._options.max_side_px)
        weight = (pixels != 0).astype(np.float32)
        phase = np.angle(without_global_phase(pixels, weight)).astype(np.float32)
        self._count += 1
        for name, values in (("Phase", phase), ("Amplitude", np.abs(pixels))):
            value = IMAGE.wrap(values, attrib=_about(picture, binning), timestamp=picture.time_ns / 1e9)
            value["uniqueId"] = self._count
            self._channels[name].post(value)
        self._post("FramesStitched", picture.frames_stitched)
        self._post("RFactor", math.nan if picture.rfactor is None else picture.rfactor)

    def end_scan(self, scan_id: str, state: ScanState, verdict: VerdictFields) -> None:
        """Show the scan's final state."""
        self._post("ScanId", scan_id)
        self._post("FramesStitched", verdict["stitched"])
        self._post("State", state)

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.stop()
            for channel in self._channels.values():
                channel.close(destroy=True)


def open_sink(options: Mapping[str, Any]) -> Sink:
    """Return the sink; :class:`PvaOptions` lists the options."""
    return PvaSink(PvaOptions.model_validate(dict(options)))


def binned(
    pixels: NDArray[np.complex64], weight: NDArray[np.float32], max_side_px: int
) -> tuple[NDArray[np.complex64], int]:
    """Return ``(H, W)`` complex64, in which each pixel is the weighted mean of b x b, and the smallest b that makes it fit."""
    step = -(-max(pixels.shape, default=1) // max_side_px)
    if step <= 1:
        return pixels, 1
    rows, columns = (-(-side // step) for side in pixels.shape)
    edge = [(0, count * step - side) for count, side in zip((rows, columns), pixels.shape, strict=True)]
    blocks = (rows, step, columns, step)
    total = np.pad(pixels * weight, edge).reshape(blocks).sum((1, 3))
    share = np.pad(weight, edge).reshape(blocks).sum((1, 3))
    return np.divide(total, share, out=np.zeros_like(total), where=share > 0).astype(np.complex64), step


def _about(picture: LayerCanvas, binning: int) -> dict[str, object]:
    about: dict[str, object] = {
        "ColorMode": 0,
        "ScanId": picture.scan_id,
        "Layer": picture.layer,
        "OriginY_px": float(picture.origin_px[0]),
        "OriginX_px": float(picture.origin_px[1]),
        "Binning": binning,
        "FramesStitched": picture.frames_stitched,
        "Complete": int(picture.complete),
    }
    if picture.pixel_size_m is not None:
        about["PixelSize_m"] = picture.pixel_size_m * binning
    return about
