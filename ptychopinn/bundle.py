"""Model bundles: one zip with ``model.pth`` (weights alone) and ``manifest.json`` (what they are and where they come from).

Nothing in a bundle is executed: the weights are read with ``weights_only=True``, the manifest is JSON, and the weights'
SHA-256 in the manifest is compared before they are looked at. Bundles are written with fixed times, so the same content
gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptychopinn.errors import FileFormatError, ProbeMismatchError, ReconstructionError
from ptychopinn.model.cnn import Cnn, CnnOptions
from ptychopinn.model.cnn_import import import_checkpoint
from ptychopinn.model.network import CorrectionNet, LiftNet, channels_last

SCHEMA_VERSION = 1
SHIPPED = Path(__file__).parent / "bundles" / "lift.zip"
CONFIGS = ("data", "model", "training", "inference", "datagen")
MAX_BYTES = 1 << 30
_WEIGHTS, _MANIFEST = "model.pth", "manifest.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)

Network = CorrectionNet | Cnn


def _correction_net(**options: Any) -> Network:
    return channels_last(CorrectionNet(**options))


def _cnn(**options: Any) -> Network:
    return Cnn(CnnOptions(**options))


_ARCHITECTURES: dict[str, Callable[..., Network]] = {"lift-correction": _correction_net, "cnn": _cnn}


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A model: ``architecture`` by name with its ``options``, ``weights``, and plain facts about them.

    ``configs`` holds the five configuration maps, ``scaling`` the scaling constants, ``provenance`` how it was trained.
    """

    name: str
    architecture: str
    options: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    configs: Mapping[str, Any] = field(default_factory=dict)
    scaling: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""


def user_directory() -> Path:
    """Return where imported bundles lie: ``$PTYCHOLIVE_MODELS``, else under the user's data directory."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(os.environ.get("PTYCHOLIVE_MODELS") or Path(data) / "ptycholive" / "models")


def bundle_files() -> dict[str, Path]:
    """Return the bundles that have a name: the shipped one as ``shipped``, imported ones by their file's."""
    found = {"shipped": SHIPPED} if SHIPPED.exists() else {}
    return found | {path.stem: path for path in sorted(user_directory().glob("*.zip"))}


def find_bundle(name: str) -> Path | None:
    """Return the bundle meant by a name or a path; None for ``none``, and for ``shipped`` where none is shipped.

    Raises
    ------
    FileFormatError
        If there is neither a bundle of that name nor such a file.
    """
    named = bundle_files()
    if name == "none" or (name == "shipped" and name not in named):
        return None
    if name not in named and not Path(name).is_file():
        known = ", ".join(["none", *named])
        raise FileFormatError(f"{name}: there is no model of that name and no such file; models here are {known}")
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
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with zipfile.ZipFile(part, "w") as archive:
        for name, content in ((_MANIFEST, json.dumps(manifest, indent=1).encode()), (_WEIGHTS, weights)):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    part.replace(path)
    return digest


def read_bundle(path: Path) -> Bundle:
    """Return the bundle in a file.

    Raises
    ------
    FileFormatError
        If it is no bundle, was changed, comes from a newer program, or holds anything but weights.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            manifest_bytes, weights = (_member(archive, path, name) for name in (_MANIFEST, _WEIGHTS))
        manifest = json.loads(manifest_bytes)
    except FileNotFoundError:
        raise FileFormatError(f"{path}: there is no such file; give the path of a model bundle") from None
    except (OSError, zipfile.BadZipFile, ValueError, RecursionError) as fault:
        raise FileFormatError(f"{path}: is no model bundle, or is damaged ({fault}); copy it again") from fault
    if not isinstance(manifest, dict) or not isinstance(manifest.get("schema_version"), int):
        raise FileFormatError(f"{path}: its {_MANIFEST} is not that of a model bundle; export the model again")
    if manifest["schema_version"] > SCHEMA_VERSION:
        raise FileFormatError(
            f"{path}: is of schema {manifest['schema_version']}, this program reads up to {SCHEMA_VERSION}; update it"
        )
    architecture = manifest.get("architecture")
    if architecture not in _ARCHITECTURES:
        raise FileFormatError(
            f"{path}: its architecture {str(architecture)[:40]!r} is none of {', '.join(_ARCHITECTURES)}; "
            "take a bundle of one of these"
        )
    digest = hashlib.sha256(weights).hexdigest()
    if digest != manifest.get("weights_sha256"):
        raise FileFormatError(f"{path}: {_WEIGHTS} is not the one its manifest names (SHA-256); copy the bundle again")
    return Bundle(
        name=str(manifest.get("name", path.stem)),
        architecture=architecture,
        options=_map(manifest, "options"),
        weights=_weights(path, weights),
        configs=_map(manifest, "configs"),
        scaling=_map(manifest, "scaling"),
        provenance=_map(manifest, "provenance"),
        sha256=digest,
    )


def read_model(path: Path) -> Bundle:
    """Return a bundle, or a checkpoint of PtychoPINN as one.

    Raises
    ------
    FileFormatError
        If it is neither.
    """
    if path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            is_bundle = any(name in archive.namelist() for name in (_MANIFEST, _WEIGHTS))
        if not is_bundle:
            network, scalars = import_checkpoint(path)
            provenance = {"imported_from": path.name}
            return Bundle(
                path.stem, "cnn", network.architecture, network.state_dict(), scaling=scalars, provenance=provenance
            )
    return read_bundle(path)


def build_network(bundle: Bundle, path: Path) -> Network:
    """Return the network of a bundle, ready for inference; weights that do not fit it are refused."""
    try:
        network = _ARCHITECTURES[bundle.architecture](**bundle.options)
        network.load_state_dict(dict(bundle.weights))
    except (TypeError, ValueError, RuntimeError, ReconstructionError) as fault:
        cause = str(fault).splitlines()[0]
        raise FileFormatError(f"{path}: its weights do not fit its architecture ({cause}); export it again") from fault
    return network.eval()


def load_model(path: Path, probe: Tensor, projections: int = 2) -> tuple[LiftNet | Cnn, Bundle]:
    """Return the model of a bundle for a probe ``(modes, N, N)``, and the bundle.

    Raises
    ------
    FileFormatError, ProbeMismatchError
        If the bundle is refused, or was made for patterns of another size or for groups of several frames.
    """
    bundle = read_bundle(path)
    network = build_network(bundle, path).to(probe.device)
    if isinstance(network, CorrectionNet):
        return LiftNet(probe, network, projections), bundle
    options, side = network.options, probe.shape[-1]
    if options.size_px != side:
        raise ProbeMismatchError(
            f"{path}: the network takes patterns of {options.size_px} px but the probe is {side} px; crop to that size"
        )
    if options.members != 1:
        raise FileFormatError(
            f"{path}: the network takes groups of {options.members} frames; here one for single frames is needed"
        )
    return network, bundle


def _member(archive: zipfile.ZipFile, path: Path, name: str) -> bytes:
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise FileFormatError(f"{path}: lacks {name}, so it is no model bundle; export the model again") from None
    if info.file_size > MAX_BYTES:
        raise FileFormatError(f"{path}: {name} would unpack to {info.file_size} bytes; take a smaller bundle")
    return archive.read(name)


def _map(manifest: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = manifest.get(key)
    return value if isinstance(value, dict) else {}


def _weights(path: Path, content: bytes) -> dict[str, Tensor]:
    try:
        weights = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception as fault:  # whatever an unpickler meets
        raise FileFormatError(f"{path}: {_WEIGHTS} holds something else than weights; it is not loaded") from fault
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise FileFormatError(f"{path}: {_WEIGHTS} is not a map of tensors; export the model again")
    return weights
