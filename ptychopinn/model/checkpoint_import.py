"""Reads PtychoPINN's checkpoints: a Lightning file, or a bare state_dict.

Files are loaded with ``weights_only``, so no code in them runs. A bare state_dict does not state the form of the network:
N, f, C, kind of decoder, batch norm and attention follow from its shapes; output, amplitude activation, border and regime
are PtychoPINN's defaults unless given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import log
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ptychopinn.errors import FileFormatError, ReconstructionError
from ptychopinn.model.cnn import TRAINER_PREFIX, Cnn, TrainableCnn
from ptychopinn.model.cnn_options import BOTTOM_PX, FEATURES, CnnOptions, PhysicsOptions
from ptychopinn.model.cnn_scaling import CountStatistics
from ptychopinn.model.fourier import HALVED
from ptychopinn.model.scale_contract import contract_fault

ENCODER = "autoencoder.encoder.blocks."
STEM = "autoencoder.encoder.stem.weight"
"""Weights that only a network of the type FNO has."""
SHARED = "autoencoder.decoder_shared."
SEPARATE = "autoencoder.decoder_amp."
PHYSICS = "forward_model."
DEFAULT_INTENSITY_SCALE = 1e4
"""Intensity scale of checkpoints that do not state it; PtychoPINN's default."""
PHYSICS_FIELDS = {
    "object_big": "object_big",
    "training_patch_weighting": "patch_weighting",
    "probe_mask_sigma": "probe_mask_sigma_px",
    "amplitude_physics_gain": "amplitude_gain",
    "intensity_scale_trainable": "has_trained_scale",
}
"""Fields of PtychoPINN's ModelConfig, and of :class:`PhysicsOptions`."""
STATES = ("state_dict", "model_state_dict", "model_state", "model", "network")
"""Keys under which files store the weights; without any of them the file is the state_dict."""
WRAPPERS = ("module", "_orig_mod")
"""Parts of names that DataParallel and torch.compile insert."""
AVERAGED = "n_averaged"
"""Counter that averaged models store beside their weights."""
DATA_FIELDS = {"probe_scale": "probe_scale", "max_neighbor_distance": "max_neighbor_distance_px"}
"""Fields of PtychoPINN's DataConfig, and of :class:`PhysicsOptions`."""


@dataclass(frozen=True, slots=True)
class ImportedCnn:
    """A network from a checkpoint, ready for inference.

    Parameters
    ----------
    scalars
        Trained scales of the physics in the file, by name.
    statistics
        Of its training scan (count regime).
    configs
        Configurations in a Lightning file by section (data, model, training, inference, datagen); plain values only.
    """

    network: TrainableCnn
    scalars: Mapping[str, list[float]]
    statistics: CountStatistics | None
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def numbers(self) -> dict[str, list[float] | float]:
        """Return scalars and statistics as a bundle stores them."""
        found: dict[str, list[float] | float] = dict(self.scalars)
        if self.statistics is not None:
            found["rms_input_scale"] = self.statistics.rms_input_scale
            found["mean_measured_intensity"] = self.statistics.mean_measured_intensity
        return found


def import_checkpoint(
    path: Path, output: Literal["polar", "cartesian"] | None = None
) -> tuple[Cnn, dict[str, list[float] | float]]:
    """Return the network of a checkpoint without its physics, and the scalars of the physics.

    Parameters
    ----------
    output
        Meaning of the decoders' output; None: as the checkpoint states, else polar.

    Raises
    ------
    FileFormatError
        As in :func:`load_cnn`.
    """
    found = load_cnn(path, **({} if output is None else {"output": output}))
    return found.network.without_physics(), found.numbers()


def load_cnn(path: Path, **known: Any) -> ImportedCnn:
    """Return the network of a checkpoint of PtychoPINN.

    Parameters
    ----------
    known
        Fields of :class:`CnnOptions` that override those of the file.

    Raises
    ------
    FileFormatError
        If the file is missing or damaged, contains more than weights and plain values, or is of another network.
    """
    content = _read(path)
    weights = _bare_names(_state(content), path)
    if STEM not in weights and ENCODER + "0.conv1.weight" not in weights:
        raise FileFormatError(
            f"{path}: not a checkpoint of PtychoPINN's CNN ({ENCODER}0.conv1.weight is missing); give another"
        )
    parameters = _map(content, "hyper_parameters")
    model, data = _map(parameters, "model_config"), _map(parameters, "data_config")
    statistics = _statistics(content)
    contradiction = contract_fault(model, data, has_statistics=statistics is not None)
    if contradiction:
        raise FileFormatError(f"{path}: {contradiction}")
    try:
        form = fourier_options_of(weights, int(data["N"])) if STEM in weights else options_of(weights)
        options = replace(form, **{**_stated(model), **known})
        network = TrainableCnn(options, _physics(weights, model, data))
        start = {
            k: v for k, v in network.state_dict().items() if k.startswith(PHYSICS)
        }  # supervised checkpoints have no physics
        network.load_state_dict({**start, **weights})
    except (KeyError, ValueError, TypeError, RuntimeError, ReconstructionError) as fault:
        cause = " ".join(str(fault).split())[:200]
        raise FileFormatError(
            f"{path}: has a network of an unknown form ({cause}); export it with a supported version of PtychoPINN"
        ) from fault
    if statistics is not None and options.sees_counts:
        network.input_scale_factor = statistics.rms_input_scale
    network.eval()
    scalars = {name: value.tolist() for name, value in weights.items() if name.startswith(PHYSICS)}
    return ImportedCnn(network, scalars, statistics, _configs(parameters))


def _state(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the weights in a file, under any of the keys that training scripts use."""
    return next((content[key] for key in STATES if isinstance(content.get(key), Mapping)), content)


def _bare_names(state: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """Return the weights under the names of the network itself, without the parts that wrappers add."""
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        if not isinstance(value, Tensor) or key == AVERAGED:
            continue
        name = ".".join(part for part in str(key).split(".") if part not in WRAPPERS).removeprefix(TRAINER_PREFIX)
        if name in found:
            raise FileFormatError(f"{path}: has {name} twice, with and without a wrapper; save a single state_dict")
        found[name] = value
    return found


def _configs(parameters: Mapping[str, Any]) -> dict[str, dict[str, object]]:
    """Return the configurations in a checkpoint, only values that JSON can store."""
    names = ("data", "model", "training", "inference", "datagen")
    stated = {name: _map(parameters, f"{name}_config") for name in names}
    return {name: {str(k): v for k, v in part.items() if _is_plain(v)} for name, part in stated.items() if part}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(part) for part in value)
    return value is None or isinstance(value, bool | int | float | str)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise FileFormatError(f"{path}: there is no such file; give a checkpoint") from None
    except Exception as fault:  # an unpickler raises errors of any kind
        cause = (str(fault).splitlines() or [type(fault).__name__])[0][:120]
        raise FileFormatError(
            f"{path}: not a checkpoint of tensors and plain values ({cause}); it is not loaded"
        ) from fault
    if not isinstance(content, Mapping):
        raise FileFormatError(f"{path}: has no state_dict; give a checkpoint of PtychoPINN")
    return content


def options_of(weights: Mapping[str, Tensor]) -> CnnOptions:
    """Return the form of a network with these weights (names without ``model.``), as far as it follows from shapes."""
    names = "\n".join(weights)
    is_shared = SHARED in names
    decoder, stage = (SHARED, SHARED + "head.") if is_shared else (SEPARATE, SEPARATE + "amp.")
    blocks = {k.removeprefix(ENCODER).split(".")[0] for k in weights if k.startswith(ENCODER)}
    members = weights[ENCODER + "0.conv1.weight"].shape[1]
    first = weights[stage + "conv1.weight"].shape[0] // (1 + is_shared)
    border = weights[stage + "conv_up_block.conv1.weight"].shape[1]
    idle, kernel = _idle_attention(weights, decoder + "attention_blocks.0.")
    return CnnOptions(
        size_px=BOTTOM_PX << len(blocks),
        members=members,
        width_factor=weights[f"{ENCODER}{len(blocks) - 1}.conv2.weight"].shape[0] // (4 * FEATURES),
        has_attention=ENCODER + "0.attention.ChannelGate." in names,
        has_batch_norm=ENCODER + "0.bn1." in names,
        has_bottleneck_attention="bottleneck_cbam." in names,
        has_shared_decoder=is_shared,
        idle_encoder_attention=ENCODER + "0.attention.conv." in names,
        idle_decoder_attention=idle,
        idle_kernel_px=kernel,
        first_channels=None if first == members else first,
        border_features=None if border == members * (1 + is_shared) else border,
    )


def fourier_options_of(weights: Mapping[str, Tensor], size_px: int) -> CnnOptions:
    """Return the form of a network of the type FNO (:mod:`ptychopinn.model.fourier`) with these weights."""
    spectral = [
        value for name, value in weights.items() if name.startswith(ENCODER) and name.endswith(".spectral.weight")
    ]
    width, channels = weights[STEM].shape[:2]
    return CnnOptions(
        size_px=size_px,
        members=channels // HALVED**2,
        fourier_modes=spectral[0].shape[1],
        fourier_width=width,
        fourier_blocks=len(spectral),
    )


def _idle_attention(
    weights: Mapping[str, Tensor], prefix: str
) -> tuple[Literal["none", "cbam", "eca", "spatial"], int]:
    if prefix + "conv.weight" in weights:
        return "eca", 7
    if prefix + "spatial_gate.compress.weight" in weights:
        return "spatial", weights[prefix + "spatial_gate.compress.weight"].shape[-1]
    return ("cbam" if prefix + "SpatialGate.compress.weight" in weights else "none"), 7


def _stated(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a ModelConfig states and that do not follow from shapes."""
    stated: dict[str, Any] = {}  # fields of CnnOptions
    if "cnn_output_mode" in model:
        stated["output"] = "cartesian" if model["cnn_output_mode"] == "real_imag" else "polar"
    if model.get("cnn_output_mode") == "real_imag" and model.get("physics_forward_mode") == "amplitude":
        stated["takes_counts"] = False
    if "probe_big" in model:
        stated["has_border"] = bool(model["probe_big"])
    if model.get("amp_activation") == "sigmoid":
        stated["amplitude_activation"] = "sigmoid"
    if model.get("intensity_scale_trainable"):
        stated["log_input_scale"] = log(model.get("intensity_scale", DEFAULT_INTENSITY_SCALE))
    return stated


def _physics(weights: Mapping[str, Tensor], model: Mapping[str, Any], data: Mapping[str, Any]) -> PhysicsOptions:
    found = {ours: model[theirs] for theirs, ours in PHYSICS_FIELDS.items() if theirs in model}
    found |= {ours: data[theirs] for theirs, ours in DATA_FIELDS.items() if theirs in data}
    counts = model.get("physics_forward_mode") == "rectangular_scaled"
    scales = weights.get(PHYSICS + "rect_scaler.s1")
    return PhysicsOptions(
        regime="counts" if counts else "amplitude",
        datasets=1 if scales is None else len(scales),
        has_probe_mask=model.get("probe_mask") is True,
        **found,
    )


def _statistics(content: Mapping[str, Any]) -> CountStatistics | None:
    found = _map(content, "ci_statistics")
    values = [found.get(name) for name in ("rms_input_scale", "mean_measured_intensity")]
    if any(value is None for value in values):
        return None
    scale, mean = (float(torch.as_tensor(value).flatten()[0]) for value in values)
    return CountStatistics(scale, mean)


def _map(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = content.get(key)
    return value if isinstance(value, Mapping) else {}
