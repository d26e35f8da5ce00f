"""``replay``: a data file sent as a detector and a position source would."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray

from daemon.cli.progress import progress
from daemon.cli.scan_input import read_data, say_doubts
from daemon.errors import ConfigError
from daemon.files import ScanFile
from streams.codecs import CODECS, sanitise_scan_id
from streams.errors import EndpointError, StreamError
from streams.frame import StreamGeometry
from streams.position_sources.panda_messages import PandaMessages
from streams.replay.sender import Faults, PositionMessages, Summary, native_positions, prepare, replay
from streams.sockets.keys import KeyFiles, read_keys
from streams.sockets.transport import Sender

PREPARED_BYTES = 2 << 30
FORMATS = [name for name in CODECS if name not in ("pva", "merlin")]  # these two do not come over ZeroMQ


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How to send; the fields are the verb's options."""

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

    def sender(self, endpoint: str, socket: str | None = None) -> Sender:
        """Return a sender to an endpoint, with keys if there are any."""
        curve = read_keys(self.keys, not endpoint.startswith(">"), "replay")
        return Sender(endpoint, socket or self.socket, curve=curve)

    @property
    def socket_of_positions(self) -> str | None:
        """A PandA's relay publishes; other positions go as the frames do."""
        return self.positions_socket or ("pub" if self.positions_format == "panda" else None)

    @property
    def position_messages(self) -> PositionMessages:
        """How positions are written."""
        if self.positions_format == "panda":
            return PandaMessages(samples_per_frame=self.samples_per_frame)
        return native_positions


@dataclass(slots=True)
class _Times:
    """Wall clock of the first and the last frame sent, ns."""

    first_sent_ns: int = 0
    last_sent_ns: int = 0

    def note(self) -> None:
        self.last_sent_ns = time.time_ns()
        self.first_sent_ns = self.first_sent_ns or self.last_sent_ns


def run_replay(data: Path, options: ReplayOptions, as_json: bool) -> None:
    """Send the scan in a file, and say what was sent."""
    try:
        faults = Faults.parse(options.fault)
    except StreamError as fault:
        raise ConfigError(f"--fault: {fault}") from fault
    if options.format not in FORMATS:
        raise ConfigError(f"--format: {options.format} is none of {', '.join(FORMATS)}")
    scan = read_data(data)
    say_doubts(scan, data)
    scan_id = sanitise_scan_id(options.scan_id or f"{scan.name}-{time.strftime('%Y%m%dT%H%M%S')}")
    times = _Times()
    with options.sender(options.bind) as sender:
        if options.positions is None:
            summary = _send(scan, scan_id, options, faults, sender, None, times)
        else:
            with options.sender(options.positions, options.socket_of_positions) as position_sender:
                summary = _send(scan, scan_id, options, faults, sender, position_sender, times)
    if as_json:
        typer.echo(json.dumps({"scan_id": scan_id, **asdict(summary), **asdict(times)}))
    else:
        rate = summary.sent / summary.seconds
        typer.echo(f"scan {scan_id}: {summary.sent} frames sent in {summary.seconds:.1f} s, {rate:.0f} a second")


def _send(
    scan: ScanFile,
    scan_id: str,
    options: ReplayOptions,
    faults: Faults,
    sender: Sender,
    position_sender: Sender | None,
    times: _Times,
) -> Summary:
    codec = CODECS[options.format]()
    counts = np.concatenate([_integral(scan.counts)] * options.repeat) if options.repeat > 1 else _integral(scan.counts)
    positions_m = _positions_m(scan, options.repeat)
    carried = positions_m if position_sender is None else None
    is_small = counts.nbytes < PREPARED_BYTES
    prepared = prepare(counts, carried, codec, scan_id, options.encoding) if is_small else None
    for each in filter(None, (sender, position_sender)):
        if not each.wait_for_peer(options.wait_s):
            nobody = f"nobody connected to {each.endpoint} within {options.wait_s:g} s; start the daemon"
            raise EndpointError(each.handshake_fault or nobody)
    with progress(len(counts), "sending", "frames") as bar:

        def on_progress(done: int, total: int) -> None:
            times.note()
            bar.total = total
            bar.update(done - bar.n)

        return replay(
            counts,
            positions_m,
            codec,
            sender,
            scan_id=scan_id,
            position_sender=position_sender,
            position_messages=options.position_messages,
            geometry=_geometry(scan),
            rate_hz=options.rate_hz,
            faults=faults,
            seed=options.seed,
            encoding=options.encoding,
            prepared=prepared,
            is_flat=options.is_flat,
            on_progress=on_progress,
        )


def _positions_m(scan: ScanFile, repeat: int) -> NDArray[np.float64] | None:
    return None if scan.positions_m is None else np.tile(scan.positions_m, (repeat, 1))


def _integral(counts: NDArray[Any]) -> NDArray[Any]:
    """Return counts as a detector has them: whole numbers in the smallest fitting dtype, if they are whole."""
    if counts.dtype.kind != "f" or not np.array_equal(counts, np.round(counts)) or counts.min() < 0:
        return counts
    return counts.astype(np.uint16 if counts.max() < 65535 else np.uint32)


def _geometry(scan: ScanFile) -> StreamGeometry:
    """Return what the file knows of the experiment."""
    pixel_m = scan.detector_pixel_size_m
    return StreamGeometry(
        photon_energy_eV=scan.photon_energy_eV,
        detector_distance_m=scan.detector_distance_m,
        detector_pixel_size_m=None if pixel_m is None else (pixel_m, pixel_m),
        mask=scan.mask,
    )
