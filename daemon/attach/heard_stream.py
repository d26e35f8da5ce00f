"""Facts about a stream for ``init``: socket, format, the header's optics, the mean pattern, the beam, the orientation."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from daemon.attach.listening import FirstMessages, FrameForm, form_of, looks_like, parsed
from daemon.config import Config
from daemon.errors import DaemonError
from daemon.intake.receivers import make_frames_receiver
from ptychopinn.detector.beam_centre import CentreFinder
from ptychopinn.detector.geometry import ORIENTATIONS, orient
from ptychopinn.detector.invalid_pixels import greatest_count
from streams.codecs import OTHER_TRANSPORTS, EncodedFrame
from streams.errors import CodecError, EndpointError
from streams.frame import NO_GEOMETRY, ScanStart, StreamGeometry

FEW = 4
"""Messages that a socket may hold: the rest stays with the sender."""
MOST_MESSAGES = 64
"""Messages that are enough for a mean pattern."""
POLL_S = 0.1
"""Time between two looks at the sockets, s."""
LEAST_LEAD = 1.5
"""An orientation is suggested if the misfit, 1 less the correlation with the probe's pattern, is at least this many times as
large in every other one: 2.7 for the probe of the measured star, about 1 for a symmetric one."""
LEAST_MISFIT = 1e-6
"""Lowest divisor: a perfect match has no misfit."""

Socket = Literal["pull", "sub"]


@dataclass(frozen=True, slots=True, eq=False)
class HeardStream:
    """A stream that was heard. ``counts`` ``(rows, columns)`` is the mean frame, 0 at ``bad`` pixels."""

    socket: Socket
    format: str
    form: FrameForm
    geometry: StreamGeometry
    has_positions: bool
    frames: int
    counts: NDArray[np.float32]
    bad: NDArray[np.bool_]
    received: FirstMessages


@dataclass(frozen=True, slots=True)
class Beam:
    """The beam in the frame turned by ``orientation``; ``lead`` is how many times as badly the next one fits."""

    orientation: str
    center_px: tuple[int, int]
    match: float
    lead: float

    @property
    def is_orientation_told(self) -> bool:
        """Whether the pattern tells the orientation: a symmetric probe fits in several."""
        return self.lead >= LEAST_LEAD


def stream_config(endpoint: str, socket: Socket, frame_format: str) -> Config:
    """Return a configuration for listening alone; the probe is not read."""
    frames = {"endpoint": endpoint, "socket": socket, "format": frame_format}
    return Config.model_validate({"frames": frames, "detector": {}, "optics": {"probe_file": "-"}})


def hear(endpoint: str, socket: Socket | None, frame_format: str | None, wait_s: float) -> HeardStream:
    """Listen at an endpoint; without a socket type both are tried at once, without a format all.

    Raises
    ------
    EndpointError
        If nothing came within `wait_s`.
    DaemonError
        If no format reads the messages.
    """
    if endpoint.startswith("pva://"):
        frame_format = "pva"
    both: tuple[Socket, ...] = ("pull", "sub")
    is_single = endpoint.startswith("@") or frame_format in OTHER_TRANSPORTS
    sockets = (socket,) if socket else (both[:1] if is_single else both)
    configs = {name: stream_config(endpoint, name, frame_format or "native") for name in sockets}
    found = _first_messages(configs, wait_s)
    for name, received in found.items():
        if received.messages:
            return _described(name, frame_format, configs[name], received)
    refused = [words for received in found.values() for words in received.refused]
    if refused:
        raise DaemonError(f"{endpoint}: every message was refused, the first: {refused[0]}")
    raise EndpointError(
        f"{endpoint}: no message within {wait_s:g} s; start a scan while this command listens, or raise --wait"
    )


def _first_messages(configs: dict[Socket, Config], wait_s: float) -> dict[Socket, FirstMessages]:
    found = {name: FirstMessages(MOST_MESSAGES) for name in configs}
    last = time.monotonic() + wait_s
    with ExitStack() as stack:
        for name, config in configs.items():
            receiver = make_frames_receiver(config, found[name], receive_limit=FEW)
            receiver.on_refused = found[name].refuse
            receiver.start()
            stack.callback(receiver.stop)
            stack.callback(found[name].may_go_on.set)
        pause = threading.Event()
        while time.monotonic() < last and not any(received.is_enough.is_set() for received in found.values()):
            pause.wait(POLL_S)
    return found


def _described(socket: Socket, wanted: str | None, config: Config, received: FirstMessages) -> HeardStream:
    name = wanted or looks_like(config, received)
    if name is None:
        raise DaemonError(f"{len(received.messages)} messages came, but no known format reads them; give --format")
    items, faults = parsed(name, config, received)
    frames = [item for item in items if isinstance(item, EncodedFrame)]
    if not frames:
        why = faults[0] if faults else "only headers came; raise --wait"
        raise DaemonError(f"{len(received.messages)} messages came, but no frame of {name}: {why}")
    starts = [item for item in items if isinstance(item, ScanStart)]
    geometry = starts[-1].geometry if starts else NO_GEOMETRY
    counts, bad, number = _mean(frames, geometry)
    return HeardStream(
        socket=socket,
        format=name,
        form=form_of(frames),
        geometry=geometry,
        has_positions=frames[0].position_m is not None,
        frames=number,
        counts=counts,
        bad=bad,
        received=received,
    )


def _mean(
    frames: Sequence[EncodedFrame], geometry: StreamGeometry
) -> tuple[NDArray[np.float32], NDArray[np.bool_], int]:
    """Return the mean of the frames that can be unpacked and have the form of the first, the bad pixels, and the number."""
    total: NDArray[np.float64] | None = None
    bad, number, fault = np.zeros(frames[0].shape, dtype=bool), 0, None
    if geometry.mask is not None and geometry.mask.shape == bad.shape:
        bad |= geometry.mask
    for frame in frames:
        if frame.shape != frames[0].shape:
            continue
        try:
            counts = frame.decode().counts
        except CodecError as error:
            fault = fault or error
            continue
        bad |= _without_data(counts)
        total = counts.astype(np.float64) if total is None else total + counts
        number += 1
    if total is None:
        raise DaemonError(f"none of {len(frames)} frames can be unpacked: {fault}")
    return np.where(bad, 0, total / number).astype(np.float32), bad, number


def _without_data(counts: NDArray[Any]) -> NDArray[np.bool_]:
    if counts.dtype.kind == "f":
        return np.asarray(~np.isfinite(counts) | (counts < 0))
    return np.asarray(counts == greatest_count(counts.dtype))


def find_beam(heard: HeardStream, pattern: NDArray[Any], orientation: str | None, binning: int = 1) -> Beam | None:
    """Return the beam where the frames look most like the probe's pattern ``(N, N)``, in one orientation or in all eight.

    None if the pattern is found in none of them.
    """
    names = list(ORIENTATIONS) if orientation is None else [orientation]
    beams: list[tuple[float, str, tuple[int, int]]] = []
    for name in names:
        counts, bad = orient(heard.counts * heard.frames, name), orient(heard.bad, name)
        finder = CentreFinder(counts.shape, pattern, binning)
        finder.add(counts, bad)
        centre = finder.find()
        if centre is not None and centre.method == "probe":
            beams.append((centre.match, name, centre.center_px))
    if not beams:
        return None
    beams.sort(key=lambda beam: beam[0], reverse=True)  # of equal ones the first in the list, "identity", stays first
    match, name, place = beams[0]
    lead = (1 - beams[1][0]) / max(1 - match, LEAST_MISFIT) if len(beams) > 1 else np.inf
    return Beam(name, place, match, lead)
