"""Model bundles: a zip file with ``model.pth`` (weights only) and ``manifest.json`` (architecture and provenance).

Nothing in a bundle is executed: the weights are read with ``weights_only=True``, the manifest is JSON, and the SHA-256 of
the weights is compared with the manifest before they are read. Bundles are written with fixed times and without
compression, so equal content gives equal bytes, and a small file cannot unpack to a large one. The bytes of the archive
are compared with those that this program would write, so every change is noticed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptychopinn.atomic import write_atomically
from ptychopinn.errors import FileFormatError, ProbeMismatchError, ReconstructionError
from ptychopinn.model import ARCHITECTURES, Model, Network
from ptychopinn.model.checkpoint_import import load_cnn

SCHEMA_VERSION = 1
"""Version of the manifest; newer ones are refused."""
SHIPPED = Path(__file__).parent / "bundles" / "lift.zip"
CONFIGS = ("data", "model", "training", "inference", "datagen")
MAX_BYTES = 1 << 30
"""Greatest size of a file in a bundle, bytes: far above any model, far below the memory of a computer."""
MAX_OPTION = 4096
"""Greatest number in the options of a network, so that a manipulated manifest cannot ask for a huge one."""
PROJECTIONS = 2
"""Projections of a look, unless the manifest says otherwise."""
MAX_PROJECTIONS = 16
"""Greatest number of projections that a manifest can ask for; more would only be slow."""
_UNREADABLE = (EOFError, OSError, RuntimeError, ValueError, struct.error, zipfile.BadZipFile)
"""Errors of zipfile and json for a damaged file."""
_WEIGHTS, _MANIFEST = "model.pth", "manifest.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time of a zip file; all bundles have it, so equal content gives equal bytes."""


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A model: the name and ``options`` of its architecture, its ``weights``, and facts about them.

    ``configs`` are the five configurations by section, ``scaling`` the scaling constants, ``provenance`` the facts about
    its training.
    """

    name: str
    architecture: str
    options: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    configs: Mapping[str, Any] = field(default_factory=dict)
    scaling: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""

    @property
    def projections(self) -> int:
        """Number of projections of a look in the training of the lift's network."""
        stated = self.configs.get("training", {}).get("projections", PROJECTIONS)
        return stated if isinstance(stated, int) and 1 <= stated <= MAX_PROJECTIONS else PROJECTIONS

    @property
    def has_own_scale(self) -> bool:
        """Whether an empty object may be another number than 1: a cnn trained neither supervised nor on neighbourhoods."""
        training, model = (self.configs.get(name, {}) for name in ("training", "model"))
        is_bound = model.get("mode") == "Supervised" or bool(training.get("overlap_frames"))
        return self.architecture in ("cnn", "fno") and not is_bound

    @property
    def part_scales(self) -> tuple[float, float]:
        """Trained scales of the real and imaginary part (count regime), means over the data sets; else 1."""
        known = [self.scaling.get(f"forward_model.rect_scaler.{name}") for name in ("s1", "s2")]
        one, other = (sum(map(float, k)) / len(k) if isinstance(k, list) and k else 1.0 for k in known)
        return one, other


def user_directory() -> Path:
    """Return the directory of imported bundles: ``$PTYCHOLIVE_MODELS``, else in the user's data directory."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(os.environ.get("PTYCHOLIVE_MODELS") or Path(data) / "ptycholive" / "models")


def bundle_files() -> dict[str, Path]:
    """Return the bundles by name: the shipped one as ``shipped``, imported ones by their file names."""
    found = {"shipped": SHIPPED} if SHIPPED.exists() else {}
    return found | {path.stem: path for path in sorted(user_directory().glob("*.zip"))}


def find_bundle(name: str) -> Path | None:
    """Return the bundle of a name or a path; None for ``none``, and for ``shipped`` if there is no shipped bundle.

    Raises
    ------
    FileFormatError
        If there is no bundle of that name and no such file.
    """
    named = bundle_files()
    if name == "none" or (name == "shipped" and name not in named):
        return None
    if name not in named and not Path(name).is_file():
        known = ", ".join(["none", *named])
        raise FileFormatError(f"{name}: there is no model of that name and no such file; the models are {known}")
    return named.get(name, Path(name))


def write_bundle(path: Path, bundle: Bundle) -> str:
    """Write a bundle atomically; return the SHA-256 of its weights."""
    buffer = io.BytesIO()
    torch.save(dict(bundle.weights), buffer)
    weights = buffer.getvalue()
    digest = hashlib.sha256(weights).hexdigest()
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "name": bundle.name,
        "architecture": bundle.architecture,
        "options": dict(bundle.options),
        "configs": {name: bundle.configs.get(name, {}) for name in CONFIGS},
        "scaling": dict(bundle.scaling),
        "provenance": dict(bundle.provenance),
        "weights_sha256": digest,
    }
    members = {_MANIFEST: json.dumps(manifest, indent=1).encode(), _WEIGHTS: weights}
    write_atomically(path, _packed([(zipfile.ZipInfo(name, _EPOCH), content) for name, content in members.items()]))
    return digest


def _packed(members: Sequence[tuple[zipfile.ZipInfo, bytes]]) -> bytes:
    """Return the archive of members, each of which keeps no more than its name and time."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for info, content in members:
            archive.writestr(zipfile.ZipInfo(info.filename, info.date_time), content)
    return buffer.getvalue()


def read_bundle(path: Path) -> Bundle:
    """Return the bundle in a file.

    Raises
    ------
    FileFormatError
        If it is not a bundle, was changed, was written by a newer program, or contains more than weights.
    """
    content, members, manifest = _read_members(path)
    architecture = _checked_manifest(manifest, path)
    weights = members[_WEIGHTS][1]
    digest = hashlib.sha256(weights).hexdigest()
    if digest != manifest.get("weights_sha256"):
        raise FileFormatError(f"{path}: {_WEIGHTS} is not the one its manifest names (SHA-256); copy the bundle again")
    tensors = _weights(path, weights)
    if set(members) != {_MANIFEST, _WEIGHTS} or _packed(list(members.values())) != content:
        raise FileFormatError(
            f"{path}: the archive around {_MANIFEST} and {_WEIGHTS} was changed; copy the bundle again"
        )
    return Bundle(
        name=str(manifest.get("name", path.stem)),
        architecture=architecture,
        options=_map(manifest, "options"),
        weights=tensors,
        configs=_map(manifest, "configs"),
        scaling=_map(manifest, "scaling"),
        provenance=_map(manifest, "provenance"),
        sha256=digest,
    )


def _read_members(path: Path) -> tuple[bytes, dict[str, tuple[zipfile.ZipInfo, bytes]], Any]:
    """Return the content of a bundle's file, its members by name, and its manifest, not checked yet."""
    try:
        content = path.read_bytes() if path.stat().st_size <= MAX_BYTES else b""
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {info.filename: (info, _member(archive, path, info)) for info in archive.infolist()}
        for name in (_MANIFEST, _WEIGHTS):
            if name not in members:
                raise FileFormatError(f"{path}: not a model bundle: {name} is missing; export the model again")
        manifest = json.loads(members[_MANIFEST][1])
    except FileNotFoundError:
        raise FileFormatError(f"{path}: there is no such file; give the path of a model bundle") from None
    except _UNREADABLE as fault:
        cause = " ".join(str(fault).split()) or type(fault).__name__
        raise FileFormatError(f"{path}: not a model bundle, or damaged ({cause}); copy it again") from fault
    return content, members, manifest


def _checked_manifest(manifest: Any, path: Path) -> str:
    """Return the architecture in a manifest, if this program supports it."""
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if type(version) is not int or version < 1:
        raise FileFormatError(f"{path}: its {_MANIFEST} is not that of a model bundle; export the model again")
    if version > SCHEMA_VERSION:
        raise FileFormatError(
            f"{path}: has schema {version}, but this program reads up to {SCHEMA_VERSION}; update the program"
        )
    architecture = manifest.get("architecture")
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        raise FileFormatError(
            f"{path}: its architecture {str(architecture)[:40]!r} is none of {', '.join(ARCHITECTURES)}; "
            "take a bundle of one of these"
        )
    return architecture


def read_model(path: Path) -> Bundle:
    """Return the model in a bundle, or in a checkpoint of PtychoPINN.

    Raises
    ------
    FileFormatError
        If the file is neither.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            is_bundle = any(name in archive.namelist() for name in (_MANIFEST, _WEIGHTS))
    except _UNREADABLE:
        is_bundle = True  # read_bundle raises the error
    if is_bundle:
        return read_bundle(path)
    found = load_cnn(path)
    network = found.network.without_physics()
    return Bundle(
        name=path.stem,
        architecture="fno" if network.options.fourier_modes else "cnn",
        options=network.architecture,
        weights=network.state_dict(),
        configs=found.configs,
        scaling=found.numbers(),
        provenance={"imported_from": path.name},
    )


def build_network(bundle: Bundle, path: Path) -> Network:
    """Return the network of a bundle, ready for inference; weights that do not fit are an error."""
    try:
        if not _is_modest(bundle.options):
            raise ValueError(f"an option is above {MAX_OPTION}")
        build = ARCHITECTURES[bundle.architecture].build
        with torch.device("meta"):  # takes no memory: a manifest could ask for a huge network
            build(**bundle.options).load_state_dict(dict(bundle.weights), assign=True)
        network = build(**bundle.options)
        network.load_state_dict(dict(bundle.weights))
        network.use_scaling(bundle.scaling)
    except (TypeError, ValueError, RuntimeError, ReconstructionError) as fault:
        cause = str(fault).splitlines()[0]
        raise FileFormatError(f"{path}: the weights do not fit the architecture ({cause}); export it again") from fault
    return network.eval()


def load_model(path: Path, probe: Tensor) -> tuple[Model, Bundle]:
    """Return the model of a bundle for a probe ``(modes, N, N)``, and the bundle.

    Raises
    ------
    FileFormatError, ProbeMismatchError
        If the bundle is not valid, or its network is for patterns of another size or for groups of several frames.
    """
    bundle = read_bundle(path)
    return model_for(build_network(bundle, path), bundle, path, probe), bundle


def model_for(network: Network, bundle: Bundle, path: Path, probe: Tensor, gridsize: int | None = 1) -> Model:
    """Return the model of a bundle's network for a probe, on the device of the probe.

    Its patches are in photon units: an empty object is 1.

    Parameters
    ----------
    gridsize
        Groups have ``gridsize`` squared frames; None: as many as the network takes.

    Raises
    ------
    FileFormatError, ProbeMismatchError
        If the network is for patterns of another size, or for groups of another number of frames.
    """
    network = network.to(probe.device)
    side = probe.shape[-1]
    if network.size_px not in (None, side):
        raise ProbeMismatchError(
            f"{path}: the network takes patterns of {network.size_px} px but the probe is {side} px; crop to that size"
        )
    if gridsize is not None and network.members not in (1, gridsize**2):
        raise FileFormatError(
            f"{path}: the network takes groups of {network.members} frames; give a network for single frames"
            ", or set gridsize = 2"
        )
    return ARCHITECTURES[bundle.architecture].for_probe(network, probe, bundle)


def _member(archive: zipfile.ZipFile, path: Path, info: zipfile.ZipInfo) -> bytes:
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise FileFormatError(
            f"{path}: {info.filename[:40]} is compressed, which bundles are not; export the model again"
        )
    return archive.read(info)


def _is_modest(option: Any) -> bool:
    """Return whether all numbers in the options are small enough to build the network safely."""
    if isinstance(option, Mapping | list | tuple):
        parts = option.values() if isinstance(option, Mapping) else option
        return len(option) <= MAX_OPTION and all(_is_modest(part) for part in parts)
    return not isinstance(option, int | float) or abs(option) <= MAX_OPTION


def _map(manifest: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = manifest.get(key)
    return value if isinstance(value, dict) else {}


def _weights(path: Path, content: bytes) -> dict[str, Tensor]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if any(info.file_size != info.compress_size for info in archive.infolist()):
                raise ValueError("compressed")
        weights = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception as fault:  # whatever an unpickler meets
        raise FileFormatError(f"{path}: {_WEIGHTS} contains something else than weights; it is not loaded") from fault
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise FileFormatError(f"{path}: {_WEIGHTS} is not a map of tensors; export the model again")
    if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
        raise FileFormatError(f"{path}: {_WEIGHTS} has weights that are not finite; use another model")
    return weights
