"""``replay`` of a data file: sends it as a detector and a position source would."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray

from daemon.cli.progress import progress
from daemon.cli.scan_input import print_doubts, read_data
from daemon.cli.sending import open_sender, wait_for_receiver
from daemon.errors import ConfigError
from daemon.files import ScanFile
from streams.codecs import CODECS, OTHER_TRANSPORTS, sanitise_scan_id
from streams.errors import StreamError
from streams.frame import StreamGeometry
from streams.position_sources.panda_messages import PandaMessages
from streams.replay.sender import Faults, PositionMessages, Summary, native_positions, prepare, replay
from streams.sockets.keys import KeyFiles
from streams.sockets.transport import Sender

PREPARED_BYTES = 2 << 30
"""Frames up to this size are encoded before sending, so that the encoding does not limit the rate."""
FORMATS = [name for name in CODECS if name not in OTHER_TRANSPORTS]
"""Formats that can be sent over ZeroMQ."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """The options of the verb."""

    format: str
    bind: str
    positions: str | None
    socket: str
    rate_hz: float | None
    fault: str
    scan_id: str
    encoding: str
    repeat: int
    seed: int
    wait_s: float
    keys: KeyFiles = KeyFiles()
    is_flat: bool = False
    positions_format: str = "native"
    positions_socket: str | None = None
    samples_per_frame: int = 1

    @property
    def socket_of_positions(self) -> str:
        """Socket type for positions; by default pub for a PandA, otherwise that of the frames."""
        return self.positions_socket or ("pub" if self.positions_format == "panda" else self.socket)

    @property
    def position_messages(self) -> PositionMessages:
        """Encodes the position messages."""
        if self.positions_format == "panda":
            return PandaMessages(samples_per_frame=self.samples_per_frame)
        return native_positions


@dataclass(slots=True)
class _Times:
    """Times of the first and the last frame sent, wall clock, ns."""

    first_sent_ns: int = 0
    last_sent_ns: int = 0

    def note(self) -> None:
        """Note that a frame was sent now."""
        self.last_sent_ns = time.time_ns()
        self.first_sent_ns = self.first_sent_ns or self.last_sent_ns


def run_replay(data: Path, options: ReplayOptions, as_json: bool) -> None:
    """Send the scan in a file; print how many frames were sent."""
    try:
        faults = Faults.parse(options.fault)
    except StreamError as fault:
        raise ConfigError(f"--fault: {fault}") from fault
    if options.format not in FORMATS:
        raise ConfigError(f"--format {options.format} is unknown; choose one of {', '.join(FORMATS)}")
    scan = read_data(data)
    print_doubts(scan, data)
    scan_id = sanitise_scan_id(options.scan_id or f"{scan.name}-{time.strftime('%Y%m%dT%H%M%S')}")
    times = _Times()
    with ExitStack() as stack:
        frames = stack.enter_context(open_sender(options.bind, options.socket, options.keys))
        positions = None
        if options.positions is not None:
            sender = open_sender(options.positions, options.socket_of_positions, options.keys)
            positions = stack.enter_context(sender)
        summary = _send(scan, scan_id, options, _Stream(frames, positions, faults, times))
    if as_json:
        typer.echo(json.dumps({"scan_id": scan_id, **asdict(summary), **asdict(times)}))
    else:
        rate = summary.sent / summary.seconds
        typer.echo(f"scan {scan_id}: {summary.sent} frames sent in {summary.seconds:.1f} s, {rate:.0f} frames/s")


@dataclass(frozen=True, slots=True)
class _Stream:
    """The sockets, the simulated faults and the times of sending. ``positions`` is None if frames carry them."""

    frames: Sender
    positions: Sender | None
    faults: Faults
    times: _Times


def _send(scan: ScanFile, scan_id: str, options: ReplayOptions, stream: _Stream) -> Summary:
    codec = CODECS[options.format]()
    counts = np.concatenate([_integral(scan.counts)] * options.repeat) if options.repeat > 1 else _integral(scan.counts)
    positions_m = _positions_m(scan, options.repeat)
    carried = positions_m if stream.positions is None else None
    is_small = counts.nbytes < PREPARED_BYTES
    prepared = prepare(counts, carried, codec, scan_id, options.encoding) if is_small else None
    for sender in filter(None, (stream.frames, stream.positions)):
        wait_for_receiver(sender, options.wait_s)
    with progress(len(counts), "sending", "frames") as bar:

        def on_progress(done: int, total: int) -> None:
            stream.times.note()
            bar.total = total
            bar.update(done - bar.n)

        return replay(
            counts,
            positions_m,
            codec,
            stream.frames,
            scan_id=scan_id,
            position_sender=stream.positions,
            position_messages=options.position_messages,
            geometry=_geometry(scan),
            rate_hz=options.rate_hz,
            faults=stream.faults,
            seed=options.seed,
            encoding=options.encoding,
            prepared=prepared,
            is_flat=options.is_flat,
            on_progress=on_progress,
        )


def _positions_m(scan: ScanFile, repeat: int) -> NDArray[np.float64] | None:
    return None if scan.positions_m is None else np.tile(scan.positions_m, (repeat, 1))


def _integral(counts: NDArray[Any]) -> NDArray[Any]:
    """Return whole counts in the smallest unsigned integer type, as a detector sends them; others unchanged."""
    if counts.dtype.kind != "f" or not np.array_equal(counts, np.round(counts)) or counts.min() < 0:
        return counts
    return counts.astype(np.uint16 if counts.max() < 65535 else np.uint32)


def _geometry(scan: ScanFile) -> StreamGeometry:
    """Return the energy, distance, pixel size and mask in the file."""
    pixel_m = scan.detector_pixel_size_m
    return StreamGeometry(
        photon_energy_eV=scan.photon_energy_eV,
        detector_distance_m=scan.detector_distance_m,
        detector_pixel_size_m=None if pixel_m is None else (pixel_m, pixel_m),
        mask=scan.mask,
    )
