"""Consistency of the five configurations, and fields of PtychoPINN that this program does not have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isqrt
from typing import Any

from ptychopinn.config.sections import DataConfig, ModelConfig, TrainingConfig

CNN_SIZES = (64, 128, 256)
"""Sides of the patterns that the cnn accepts, px: 8 px at its bottom, doubled three, four or five times."""
CHANNEL_FIELDS = ("C", "C_model", "C_forward")
"""Fields in which PtychoPINN repeats the number of frames of a group; here ``grid_size`` alone says it."""
LEFT_OUT = frozenset((
    "fno_modes", "fno_width", "fno_blocks", "fno_cnn_blocks", "learned_input_channels", "fno_input_transform",
    "max_hidden_channels", "resnet_width", "spectral_bottleneck_blocks", "spectral_bottleneck_modes",
    "spectral_bottleneck_share_weights", "spectral_bottleneck_gate_init", "spectral_bottleneck_gate_mode",
    "generator_output_mode", "max_position_jitter", "probe_mask_tensor", "probe_mask_diameter", "edge_pad",
    "decoder_last_c_outer_fraction", "decoder_last_amp_channels", "use_legacy_decoder_channel_override", "offset",
    "pad_object", "gaussian_smoothing_sigma", "torch_loss_mode", "torch_mae_pred_l2_match_target", "log_grad_norm",
    "grad_norm_log_freq", "pad_eval", "varpro_scaling", "log_patch_stats", "patch_stats_limit",
))  # fmt: skip
"""Fields of PtychoPINN without a meaning here: ignored when read, never written."""


def contradictions(data: DataConfig, model: ModelConfig, training: TrainingConfig) -> Iterator[str]:
    """Yield one sentence for each pair of values that contradict each other."""
    yield from _grouping(data)
    if model.architecture == "cnn":
        yield from _cnn(data, model)
    if model.physics_forward_mode == "rectangular_scaled":
        yield from _count_regime(data, model)
    if training.n_devices not in (1, "auto") and training.strategy is None:
        yield f"TrainingConfig.n_devices is {training.n_devices} but strategy is None; set strategy to ddp"


def _grouping(data: DataConfig) -> Iterator[str]:
    if data.neighbor_function == "4_quadrant" and data.C != 4:
        yield f"DataConfig.neighbor_function is 4_quadrant but grid_size {data.grid_size} makes groups of {data.C}; set (2, 2)"
    if data.neighbor_function == "Nearest" and data.K + 1 < data.C:
        yield f"DataConfig.K is {data.K}, too few for groups of {data.C}; set at least {data.C - 1}"
    if data.neighbor_function != "Nearest" and data.min_neighbor_distance >= data.max_neighbor_distance:
        yield (
            f"DataConfig.min_neighbor_distance {data.min_neighbor_distance:g} is not below max_neighbor_distance "
            f"{data.max_neighbor_distance:g}; set the latter to the scan's step"
        )
    for name in ("x_bounds", "y_bounds"):
        low, high = getattr(data, name)
        if low >= high:
            yield f"DataConfig.{name} is ({low:g}, {high:g}), an empty range; give the lower bound first"


def _cnn(data: DataConfig, model: ModelConfig) -> Iterator[str]:
    if data.N not in CNN_SIZES:
        yield f"DataConfig.N is {data.N} but the cnn takes 64, 128 or 256; crop the patterns to one"
    if data.grid_size not in ((1, 1), (2, 2)):
        yield f"DataConfig.grid_size is {data.grid_size} but the cnn takes groups of (1, 1) or (2, 2); set one"
    if model.amp_activation not in ("silu", "SiLU", "swish", "sigmoid"):
        yield f"ModelConfig.amp_activation is {model.amp_activation} but the cnn has silu and sigmoid; set one"


def _count_regime(data: DataConfig, model: ModelConfig) -> Iterator[str]:
    wanted = {
        "cnn_output_mode": "real_imag",
        "mode": "Unsupervised",
        "loss_function": "Poisson",
        "amplitude_physics_gain": 1.0,
        "intensity_scale_trainable": False,
    }
    for name, value in wanted.items():
        found = getattr(model, name)
        if found != value:
            yield f"ModelConfig.{name} is {found} but physics_forward_mode rectangular_scaled needs {value}; set it"
    pair = (data.scale_contract_version, data.measurement_domain)
    if pair != ("ci_intensity_v2", "count_intensity"):
        yield (
            f"DataConfig says {pair[0]} and {pair[1]} but physics_forward_mode rectangular_scaled needs "
            "ci_intensity_v2 and count_intensity; set them"
        )


def settled(sections: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, dict[str, object]], list[str]]:
    """Return the values without fields that exist only in PtychoPINN, and contradictions between its channel numbers.

    If only a channel number is given, ``grid_size`` follows from it. If ``object_big`` is not given, single frames are
    not merged.
    """
    told = {name: {k: v for k, v in values.items() if k not in LEFT_OUT} for name, values in sections.items()}
    stated = {k: values.pop(k) for values in told.values() for k in CHANNEL_FIELDS if k in values}
    data, faults = told.setdefault("data_config", {}), []
    counts = {value for value in stated.values() if isinstance(value, int)}
    if counts and "grid_size" not in data:
        side = isqrt(max(1, min(counts)))
        data["grid_size"] = (side, side)
    grid = data.get("grid_size", DataConfig().grid_size)
    channels = grid[0] * grid[1] if isinstance(grid, list | tuple) and len(grid) == 2 else None
    for name, value in stated.items():
        if value != channels:
            faults.append(
                f"{name} is {value!r} but grid_size {tuple(grid)} makes groups of {channels}; leave {name} out"
            )
    model = told.setdefault("model_config", {})
    if channels == 1:
        model.setdefault("object_big", False)
    return told, faults
