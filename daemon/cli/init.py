"""``init``: listen to a stream, show what comes, ask for the rest, write a configuration that passes the checks."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from daemon.cli.heard_stream import Beam, HeardStream, Socket, find_beam, hear
from daemon.cli.init_answers import (
    POSITION_KINDS,
    PROBE_KINDS,
    Asker,
    read_centre,
    read_choice,
    read_file,
    read_pinhole,
    read_positive,
    read_shape,
    read_side,
    read_step,
    read_zone_plate,
    toml_text,
)
from daemon.cli.listening import describe_frames
from daemon.cli.watch import half_blocks
from daemon.config import Config, load_config
from daemon.config.base import is_endpoint
from daemon.errors import ConfigError, DaemonError
from daemon.files import read_probe
from daemon.optics.scan_optics import scan_optics
from daemon.setup.models import first_probe
from ptycholive_client.drawing import coloured, sequential_map
from ptychopinn.detector.geometry import ORIENTATIONS
from ptychopinn.physics.diffraction import propagate
from streams.codecs import CODECS
from streams.frame import StreamGeometry

USUAL_SIDE_PX = 128
PICTURE_LINES = 24
"""Height of the pattern in the terminal, lines."""
WIDEST_COLUMNS = 80

Tree = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class InitOptions:
    """The options of the verb, as they were typed; None: not given."""

    endpoint: str | None
    socket: Socket | None
    format: str | None
    wait_s: float
    energy: str | None
    distance: str | None
    pixel: str | None
    probe: str | None
    zone_plate: str | None
    pinhole: str | None
    size: str | None
    orientation: str | None
    center: str | None
    positions: str | None
    positions_endpoint: str | None
    positions_file: str | None
    channels: str | None
    shape: str | None
    step: str | None
    output: Path
    replaces: bool
    asks: bool
    as_json: bool


def run_init(options: InitOptions) -> None:
    """Write the configuration and print its path, or JSON with what was found."""
    if options.output.exists() and not options.replaces:
        raise ConfigError(f"{options.output} exists already; choose another name, or replace it with --force")
    asker = Asker(options.asks)
    endpoint = asker.take(
        options.endpoint, "--endpoint", "Address of the frame stream (tcp://HOST:PORT)", _read_endpoint
    )
    frame_format = options.format
    if frame_format is not None:
        read = read_choice(*CODECS)
        frame_format = asker.take(frame_format, "--format", "", read)
    _say(f"Listening at {endpoint} for up to {options.wait_s:g} s; a scan must be running.")
    heard = hear(endpoint, options.socket, frame_format, options.wait_s)
    _show(heard)
    tree: Tree = {"frames": {"endpoint": endpoint, "socket": heard.socket, "format": heard.format}}
    tree["detector"] = {"size_px": USUAL_SIDE_PX}
    tree["optics"] = _optics(options, asker, heard.geometry)
    tree["detector"]["size_px"] = _side(options, asker, heard, tree["optics"])
    tree["positions"] = _positions(options, asker, heard)
    tree["output"] = {"directory": "out"}
    beam = _beam(options, tree, heard)
    _place(options, asker, tree, heard, beam)
    config = _checked(tree, options.output)
    side = config.detector.size_px
    if min(heard.form["shape"]) < side:
        raise DaemonError(f"the frames are smaller than the pattern of {side} px, so nothing was written; give --size")
    finding = describe_frames(config, heard.received)  # a header that says otherwise is a note: [optics] is used
    options.output.write_text(toml_text(tree, _head(heard, beam)), encoding="utf-8")
    _say(f"Frames: {finding.detail}\nNow run: ptycholive check --config {options.output}")
    found = {"config": str(options.output), "found": _found(heard, beam), **tree}
    typer.echo(json.dumps(found, default=str) if options.as_json else str(options.output))


def _say(words: str) -> None:
    typer.echo(words, err=True)


def _read_endpoint(text: str) -> str:
    if not is_endpoint(text.strip()):
        raise ValueError(f"{text!r} is not a valid endpoint. Example: tcp://127.0.0.1:9999")
    return text.strip()


def _show(heard: HeardStream) -> None:
    rows, columns = heard.form["shape"]
    socket = "" if heard.format in ("pva", "merlin") else f" over a {heard.socket.upper()} socket"
    rate = heard.form["rate_hz"]
    speed = "" if rate is None else f", {rate:.0f} frames/s"
    _say(f"Found: {heard.format}{socket}, {rows} x {columns} px, {heard.form['dtype']}{speed}.")
    if sys.stderr.isatty():
        width = min(WIDEST_COLUMNS, shutil.get_terminal_size().columns)
        _say(half_blocks(_pattern_colours(heard), width, PICTURE_LINES))
    _say(
        f"Mean of {heard.frames} frames: {heard.counts.sum():.0f} counts, {heard.counts.max():.3g} in the brightest pixel."
    )


def _pattern_colours(heard: HeardStream) -> NDArray[np.uint8]:
    logarithm = np.log1p(heard.counts)
    colours = coloured(logarithm, 0.0, float(logarithm.max(initial=0)), sequential_map())
    return np.concatenate([colours, np.where(heard.bad, 0, 255).astype(np.uint8)[..., None]], axis=-1)


def _optics(options: InitOptions, asker: Asker, header: StreamGeometry) -> dict[str, Any]:
    pixel_m = None if header.detector_pixel_size_m is None else header.detector_pixel_size_m[0]
    tree: dict[str, Any] = {
        "photon_energy_eV": asker.take(
            options.energy, "--energy", "Photon energy, keV", read_positive("keV"), default=_kev(header)
        ),
        "detector_distance_m": asker.take(
            options.distance,
            "--distance",
            "Distance from sample to detector, mm",
            read_positive("mm"),
            default=_in(header.detector_distance_m, 1e-3),
        ),
        "detector_pixel_size_m": asker.take(
            options.pixel, "--pixel", "Side of a detector pixel, µm", read_positive("um"), default=_in(pixel_m, 1e-6)
        ),
    }
    given = {"file": options.probe, "zone-plate": options.zone_plate, "pinhole": options.pinhole}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise ConfigError("give one of --probe, --zone-plate, --pinhole")
    question = f"Where the probe comes from ({', '.join(PROBE_KINDS)})"
    kind = named[0] if named else asker.take(None, "--probe", question, read_choice(*PROBE_KINDS))
    return tree | _probe(options, asker, kind)


def _probe(options: InitOptions, asker: Asker, kind: str) -> dict[str, Any]:
    if kind == "zone-plate":
        question = "Zone plate: outermost zone width nm, diameter µm[, central stop µm[, defocus µm]]"
        return {"zone_plate": asker.take(options.zone_plate, "--zone-plate", question, read_zone_plate)}
    if kind == "pinhole":
        question = "Pinhole: diameter µm[, distance to the sample mm]"
        return {"pinhole": asker.take(options.pinhole, "--pinhole", question, read_pinhole)}
    question = "File with the probe (product, NPZ, CXI)"
    return {"probe_file": asker.take(options.probe, "--probe", question, read_file)}


def _kev(header: StreamGeometry) -> str | None:
    return _in(header.photon_energy_eV, 1e3)


def _in(value: float | None, unit: float) -> str | None:
    return None if value is None else f"{value / unit:.9g}"


def _side(options: InitOptions, asker: Asker, heard: HeardStream, optics: dict[str, Any]) -> int:
    """Return the side of the pattern: that of the probe's file, which cannot differ, or the one that is chosen."""
    if "probe_file" in optics and options.size is None:
        return int(read_probe(optics["probe_file"]).probe.shape[-1])
    usual = min(USUAL_SIDE_PX, min(heard.form["shape"]) // 2 * 2)
    return asker.take(options.size, "--size", "Side of the pattern, detector pixels", read_side, default=str(usual))


def _positions(options: InitOptions, asker: Asker, heard: HeardStream) -> dict[str, Any]:
    question = f"Where the positions come from ({', '.join(POSITION_KINDS)})"
    usual = "frame" if heard.has_positions else None
    source = asker.take(options.positions, "--positions", question, read_choice(*POSITION_KINDS), default=usual)
    tree: dict[str, Any] = {"source": source}
    if source == "frame" and not heard.has_positions:
        _say("The frames that came carry no positions: every frame would be left without one.")
    if source in ("native", "panda", "pandablocks", "bluesky"):
        tree["endpoint"] = asker.take(
            options.positions_endpoint, "--positions-endpoint", "Address of the positions", _read_endpoint
        )
    if source in ("pandablocks", "bluesky"):
        question = "Names of the channels of y and x (Y,X)"
        tree["channels"] = asker.take(options.channels, "--channels", question, _read_channels)
    if source == "file":
        tree["file"] = asker.take(options.positions_file, "--positions-file", "File with the positions", read_file)
    if source == "raster":
        tree["shape"] = asker.take(options.shape, "--shape", "Rows and columns (40x60)", read_shape)
    if source == "spiral":
        tree["count"] = asker.take(options.shape, "--shape", "Number of positions", _read_count)
    if source in ("raster", "spiral"):
        tree["step_m"] = asker.take(options.step, "--step", "Steps in y and x, µm", read_step)
    return tree


def _read_channels(text: str) -> tuple[str, str]:
    names = [name.strip() for name in text.split(",")]
    if len(names) != 2 or not all(names):
        raise ValueError(f"{text!r} is not two names with a comma between them")
    return names[0], names[1]


def _read_count(text: str) -> int:
    rows, columns = read_shape(text if "x" in text.lower() else f"{text}x1")
    return rows * columns


def _beam(options: InitOptions, tree: Tree, heard: HeardStream) -> Beam | None:
    """Return the beam and the orientation in which the frames look like the probe's pattern."""
    orientation = options.orientation
    if orientation is not None and orientation not in ORIENTATIONS:
        raise ConfigError(f"--orientation {orientation} is not one of {', '.join(ORIENTATIONS)}")
    config = _checked(tree, options.output)
    probe, pixel_m = first_probe(config)
    for note in scan_optics(config.optics, config.detector.size_px, pixel_m, heard.geometry).notes:
        _say(f"Note: {note}.")
    pattern = propagate(torch.from_numpy(probe)).abs().square().sum(0).numpy()
    return find_beam(heard, pattern, orientation)


def _place(options: InitOptions, asker: Asker, tree: Tree, heard: HeardStream, beam: Beam | None) -> None:
    """Enter orientation and centre, and say how they were found."""
    detector = tree["detector"]
    usual, place = options.orientation or "identity", "auto"
    if beam is None:
        _say("The probe's pattern was not found in the frames: check the optics, and that the beam is on.")
    else:
        place = f"{beam.center_px[0]},{beam.center_px[1]}"
        _say(f"Beam at row {place.replace(',', ', column ')}; it matches the probe's pattern by {beam.match:.2f} of 1.")
        if options.orientation is None and beam.is_orientation_told:
            usual = beam.orientation
            _say(f"The frames fit best as {usual}, any other orientation fits {beam.lead:.1f} times as badly or worse.")
        elif options.orientation is None:
            _say("The probe is too symmetric to tell the orientation; the diagnosis of the first scan will tell it.")
    names = read_choice(*ORIENTATIONS)
    detector["orientation"] = asker.take(options.orientation, "--orientation", "Orientation", names, default=usual)
    if beam is not None and detector["orientation"] != beam.orientation:
        place = "auto"  # it was found in the other orientation
    question = "Beam centre in that orientation (ROW,COLUMN or auto)"
    detector["center_px"] = asker.take(options.center, "--center", question, read_centre, default=place)


def _checked(tree: Tree, output: Path) -> Config:
    """Return the configuration as the daemon reads it. Raises ConfigError and others with the sentence of the fault."""
    handle, name = tempfile.mkstemp(".toml", dir=output.absolute().parent)
    draft = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(toml_text(tree, ()))
        return load_config(draft)
    except ConfigError as fault:
        raise ConfigError(str(fault).replace(f"{draft}: ", "")) from fault
    finally:
        draft.unlink()


def _head(heard: HeardStream, beam: Beam | None) -> list[str]:
    lines = [f"Made by ptycholive init from {heard.frames} frames of {heard.format}."]
    if beam is not None:
        lines.append(
            f"The beam was found at {list(beam.center_px)}, orientation {beam.orientation}, match {beam.match:.2f}."
        )
    return lines


def _found(heard: HeardStream, beam: Beam | None) -> dict[str, object]:
    place = None if beam is None else {"center_px": list(beam.center_px), "match": round(beam.match, 3)}
    told = None if beam is None or not beam.is_orientation_told else beam.orientation
    return {**heard.form, "frames": heard.frames, "beam": place, "orientation": told}
