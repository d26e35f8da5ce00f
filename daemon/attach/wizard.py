"""The configuration of a detector, from a stream that was heard and the answers of a person."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from daemon.attach.answers import (
    POSITION_KINDS,
    PROBE_KINDS,
    Asker,
    TomlValue,
    Tree,
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
from daemon.attach.heard_stream import Beam, HeardStream, find_beam
from daemon.attach.listening import describe_frames
from daemon.config import Config, load_config
from daemon.config.base import is_endpoint
from daemon.errors import ConfigError, DaemonError
from daemon.files import read_probe
from daemon.optics.scan_optics import scan_optics
from daemon.setup.models import first_probe
from ptychopinn.detector.geometry import ORIENTATIONS
from ptychopinn.physics.diffraction import propagate
from streams.frame import StreamGeometry

USUAL_SIDE_PX = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The answers that were given, as they were typed; None: not given."""

    energy: str | None = None
    distance: str | None = None
    pixel: str | None = None
    probe: str | None = None
    zone_plate: str | None = None
    pinhole: str | None = None
    size: str | None = None
    orientation: str | None = None
    center: str | None = None
    positions: str | None = None
    positions_endpoint: str | None = None
    positions_file: str | None = None
    channels: str | None = None
    shape: str | None = None
    step: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class MadeConfig:
    """A checked configuration: as a tree, as TOML, and how it was found."""

    tree: Tree
    text: str
    config: Config
    found: dict[str, object]
    frames: str
    """The frames that came, as `check` describes them."""


def make_config(endpoint: str, heard: HeardStream, answers: Answers, asker: Asker, folder: Path) -> MadeConfig:
    """Return the configuration; what `answers` leave open is asked for, or taken from the stream.

    Raises
    ------
    DaemonError
        With one sentence, if an answer is missing or wrong, or the daemon would not start with them. It is a
        ``ConfigError`` in most cases.
    """
    tree: Tree = {"frames": {"endpoint": endpoint, "socket": heard.socket, "format": heard.format}}
    tree["detector"] = {"size_px": USUAL_SIDE_PX}
    tree["optics"] = _optics(answers, asker, heard.geometry)
    tree["detector"]["size_px"] = _side(answers, asker, heard, tree["optics"])
    tree["positions"] = _positions(answers, asker, heard)
    tree["output"] = {"directory": "out"}
    beam = _beam(answers, asker, tree, heard, folder)
    _place(answers, asker, tree, heard, beam)
    config = checked(tree, folder)
    side = config.detector.size_px
    if min(heard.form["shape"]) < side:
        raise DaemonError(f"the frames are smaller than the pattern of {side} px, so nothing was written; give --size")
    finding = describe_frames(config, heard.received)  # a header that says otherwise is a note: [optics] is used
    return MadeConfig(tree, toml_text(tree, _head(heard, beam)), config, _found(heard, beam), finding.detail)


def read_endpoint(text: str) -> str:
    """Return an address of a stream."""
    if not is_endpoint(text.strip()):
        raise ValueError(f"{text!r} is not a valid endpoint. Example: tcp://127.0.0.1:9999")
    return text.strip()


def _optics(answers: Answers, asker: Asker, header: StreamGeometry) -> dict[str, TomlValue]:
    pixel_m = None if header.detector_pixel_size_m is None else header.detector_pixel_size_m[0]
    tree: dict[str, TomlValue] = {
        "photon_energy_eV": asker.take(
            answers.energy, "--energy", "Photon energy, keV", read_positive("keV"), default=_kev(header)
        ),
        "detector_distance_m": asker.take(
            answers.distance,
            "--distance",
            "Distance from sample to detector, mm",
            read_positive("mm"),
            default=_in(header.detector_distance_m, 1e-3),
        ),
        "detector_pixel_size_m": asker.take(
            answers.pixel, "--pixel", "Side of a detector pixel, µm", read_positive("um"), default=_in(pixel_m, 1e-6)
        ),
    }
    given = {"file": answers.probe, "zone-plate": answers.zone_plate, "pinhole": answers.pinhole}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise ConfigError("the probe is given twice; give one of --probe, --zone-plate, --pinhole")
    question = f"Where the probe comes from ({', '.join(PROBE_KINDS)})"
    kind = named[0] if named else asker.take(None, "--probe", question, read_choice(*PROBE_KINDS))
    return tree | _probe(answers, asker, kind)


def _probe(answers: Answers, asker: Asker, kind: str) -> dict[str, TomlValue]:
    if kind == "zone-plate":
        question = "Zone plate: outermost zone width nm, diameter µm[, central stop µm[, defocus µm]]"
        return {"zone_plate": asker.take(answers.zone_plate, "--zone-plate", question, read_zone_plate)}
    if kind == "pinhole":
        question = "Pinhole: diameter µm[, distance to the sample mm]"
        return {"pinhole": asker.take(answers.pinhole, "--pinhole", question, read_pinhole)}
    question = "File with the probe (product, NPZ, CXI)"
    return {"probe_file": asker.take(answers.probe, "--probe", question, read_file)}


def _kev(header: StreamGeometry) -> str | None:
    return _in(header.photon_energy_eV, 1e3)


def _in(value: float | None, unit: float) -> str | None:
    return None if value is None else f"{value / unit:.9g}"


def _side(answers: Answers, asker: Asker, heard: HeardStream, optics: dict[str, TomlValue]) -> int:
    """Return the side of the pattern: that of the probe's file, which cannot differ, or the one that is chosen."""
    if isinstance(probe := optics.get("probe_file"), Path | str) and answers.size is None:
        return int(read_probe(probe).probe.shape[-1])
    usual = min(USUAL_SIDE_PX, min(heard.form["shape"]) // 2 * 2)
    return asker.take(answers.size, "--size", "Side of the pattern, detector pixels", read_side, default=str(usual))


def _positions(answers: Answers, asker: Asker, heard: HeardStream) -> dict[str, TomlValue]:
    question = f"Where the positions come from ({', '.join(POSITION_KINDS)})"
    usual = "frame" if heard.has_positions else None
    source = asker.take(answers.positions, "--positions", question, read_choice(*POSITION_KINDS), default=usual)
    tree: dict[str, TomlValue] = {"source": source}
    if source == "frame" and not heard.has_positions:
        asker.say("The received frames contain no positions, so every frame would be without one.")
    if source in ("native", "panda", "pandablocks", "bluesky"):
        tree["endpoint"] = asker.take(
            answers.positions_endpoint, "--positions-endpoint", "Address of the positions", read_endpoint
        )
    if source in ("pandablocks", "bluesky"):
        question = "Names of the channels of y and x (Y,X)"
        tree["channels"] = asker.take(answers.channels, "--channels", question, _read_channels)
    if source == "file":
        tree["file"] = asker.take(answers.positions_file, "--positions-file", "File with the positions", read_file)
    if source == "raster":
        tree["shape"] = asker.take(answers.shape, "--shape", "Rows and columns (40x60)", read_shape)
    if source == "spiral":
        tree["count"] = asker.take(answers.shape, "--shape", "Number of positions", _read_count)
    if source in ("raster", "spiral"):
        tree["step_m"] = asker.take(answers.step, "--step", "Steps in y and x, µm", read_step)
    return tree


def _read_channels(text: str) -> tuple[str, str]:
    names = [name.strip() for name in text.split(",")]
    if len(names) != 2 or not all(names):
        raise ValueError(f"{text!r} is not two names with a comma between them")
    return names[0], names[1]


def _read_count(text: str) -> int:
    rows, columns = read_shape(text if "x" in text.lower() else f"{text}x1")
    return rows * columns


def _beam(answers: Answers, asker: Asker, tree: Tree, heard: HeardStream, folder: Path) -> Beam | None:
    """Return the beam and the orientation in which the frames look like the probe's pattern."""
    orientation = answers.orientation
    if orientation is not None and orientation not in ORIENTATIONS:
        raise ConfigError(
            f"{'--orientation' if asker.has_options else 'Orientation'} {orientation} is not one of {', '.join(ORIENTATIONS)}"
        )
    config = checked(tree, folder)
    probe, pixel_m = first_probe(config)
    for note in scan_optics(config.optics, config.detector.size_px, pixel_m, heard.geometry).notes:
        asker.say(f"Note: {note}.")
    pattern = propagate(torch.from_numpy(probe)).abs().square().sum(0).numpy()
    return find_beam(heard, pattern, orientation)


def _place(answers: Answers, asker: Asker, tree: Tree, heard: HeardStream, beam: Beam | None) -> None:
    """Enter orientation and centre, and say how they were found."""
    detector = tree["detector"]
    usual, place = answers.orientation or "identity", "auto"
    if beam is None:
        asker.say("The probe's pattern was not found in the frames: check the optics, and that the beam is on.")
    else:
        place = f"{beam.center_px[0]},{beam.center_px[1]}"
        asker.say(
            f"Beam at row {place.replace(',', ', column ')}; its match with the probe's pattern is {beam.match:.2f} (1: perfect)."
        )
        if answers.orientation is None and beam.is_orientation_told:
            usual = beam.orientation
            asker.say(f"The orientation {usual} fits best; every other one fits at least {beam.lead:.1f} times worse.")
        elif answers.orientation is None:
            asker.say("The probe is too symmetric to find the orientation; the diagnosis of the first scan finds it.")
    names = read_choice(*ORIENTATIONS)
    detector["orientation"] = asker.take(answers.orientation, "--orientation", "Orientation", names, default=usual)
    if beam is not None and detector["orientation"] != beam.orientation:
        place = "auto"  # it was found in the other orientation
    question = "Beam centre in that orientation (ROW,COLUMN or auto)"
    detector["center_px"] = asker.take(answers.center, "--center", question, read_centre, default=place)


def checked(tree: Tree, folder: Path) -> Config:
    """Return the configuration as the daemon reads it from `folder`; raises ConfigError and others with a sentence."""
    handle, name = tempfile.mkstemp(".toml", dir=folder)
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
    lines = [f"Made by Ptycholive from {heard.frames} frames of {heard.format}."]
    if beam is not None:
        lines.append(
            f"The beam was found at {list(beam.center_px)}, orientation {beam.orientation}, match {beam.match:.2f}."
        )
    return lines


def _found(heard: HeardStream, beam: Beam | None) -> dict[str, object]:
    place = None if beam is None else {"center_px": list(beam.center_px), "match": round(beam.match, 3)}
    told = None if beam is None or not beam.is_orientation_told else beam.orientation
    return {**heard.form, "frames": heard.frames, "beam": place, "orientation": told}
