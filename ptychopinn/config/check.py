"""Consistency of the five configurations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isqrt
from typing import Any

from ptychopinn.config.left_out import without_left_out
from ptychopinn.config.section import Sections
from ptychopinn.config.sections import DataConfig, ModelConfig, TrainingConfig

CNN_SIZES = (64, 128, 256)
"""Sides of the patterns that the cnn accepts, px: 8 px at its bottom, doubled three, four or five times."""
FIXED_GROUPING = (
    "K", "K_quadrant", "n_subsample", "neighbor_function", "min_neighbor_distance", "max_neighbor_distance",
    "scan_pattern", "phase_subtraction",
)  # fmt: skip
"""Fields of the grouping that neighbourhoods (``overlap_frames``, lift) do not use."""
FIXED_LOSS = (
    "loss_function", "amp_loss", "phase_loss", "amp_loss_coeff", "phase_loss_coeff", "amplitude_physics_gain",
    "training_patch_weighting", "rect_s1s2_init",
)  # fmt: skip
"""Fields of the loss that neighbourhoods do not use."""
ADAM, SGD = ("adam_beta1", "adam_beta2"), ("momentum",)
"""Fields of one kind of optimiser."""
OF_FOURIER = ("fno_modes", "fno_width", "fno_blocks")
"""Fields of the generator of the type FNO."""
OF_BLOCKS = (
    "n_filters_scale", "use_shared_decoder", "batch_norm", "cbam_encoder", "cbam_bottleneck", "cbam_decoder", "eca_encoder",
    "eca_decoder", "spatial_decoder",
)  # fmt: skip
"""Fields of the encoder and decoder blocks that it replaces."""
STAGES = ("stage_1_epochs", "stage_2_epochs", "stage_3_epochs")
CHANNEL_FIELDS = ("C", "C_model", "C_forward")
"""Fields in which PtychoPINN repeats the number of frames of a group; here ``grid_size`` alone says it."""


def contradictions(data: DataConfig, model: ModelConfig, training: TrainingConfig) -> Iterator[str]:
    """Yield one sentence for each pair of values that contradict each other."""
    yield from _grouping(data)
    if model.architecture != "lift":
        yield from _cnn(data, model)
    yield from _generator(data, model)
    if model.physics_forward_mode == "rectangular_scaled":
        yield from _count_regime(data, model, training)
    if training.overlap_frames or model.architecture == "lift":
        yield from _neighbourhoods(data, model, training)
    if model.mode == "Supervised" and _stage_fields(training):
        yield f"ModelConfig.mode Supervised has one loss but {', '.join(_stage_fields(training))} are set; leave them out"
    yield from _optimiser(training)
    if training.n_devices not in (1, "auto") and training.strategy is None:
        yield f"TrainingConfig.n_devices is {training.n_devices} but strategy is None; set strategy to ddp"


def _generator(data: DataConfig, model: ModelConfig) -> Iterator[str]:
    """Yield what the generator does not use: fields of the type FNO, or of the blocks that it replaces."""
    is_fourier, fresh = model.architecture == "fno", ModelConfig()
    for name in OF_BLOCKS if is_fourier else OF_FOURIER:
        if (value := getattr(model, name)) != getattr(fresh, name):
            yield f"ModelConfig.{name} is {value!r} but has no effect where architecture is {model.architecture}; leave it out"
    if is_fourier and model.fno_modes > data.N // 4:
        yield f"ModelConfig.fno_modes is {model.fno_modes} but patterns of {data.N} px allow {data.N // 4}; set it lower"


def _optimiser(training: TrainingConfig) -> Iterator[str]:
    """Yield what the optimiser does not use."""
    fresh = TrainingConfig()
    names = ADAM if training.optimizer == "sgd" else SGD
    remedy = "set optimizer to adam" if training.optimizer == "sgd" else "set adam_beta1, or optimizer to sgd"
    for name in names:
        if (value := getattr(training, name)) != getattr(fresh, name):
            yield f"TrainingConfig.{name} is {value:g} but optimizer {training.optimizer} does not use it; {remedy}"


def _neighbourhoods(data: DataConfig, model: ModelConfig, training: TrainingConfig) -> Iterator[str]:
    """Yield what has no effect if neighbouring frames are trained together: their loss and their grouping are fixed."""
    why = f"overlap_frames is {training.overlap_frames}" if training.overlap_frames else "architecture is lift"
    for section, names in ((data, FIXED_GROUPING), (model, FIXED_LOSS)):
        fresh = type(section)()
        for name in names:
            if getattr(section, name) != getattr(fresh, name):
                kind = type(section).__name__
                yield f"{kind}.{name} is {getattr(section, name)!r} but has no effect where {why}; leave it out"
    for name in [*_stage_fields(training), *(() if training.nll else ("nll",))]:
        yield f"TrainingConfig.{name} is {getattr(training, name)} but has no effect where {why}; leave it out"


def without_unused(sections: Mapping[str, Mapping[str, Any]]) -> Sections:
    """Return the values of a trained model without those that had no effect in its training; older versions took them."""
    told = {name: dict(values) for name, values in sections.items()}
    training, model = told.get("training_config", {}), told.get("model_config", {})
    if training.get("overlap_frames") or model.get("architecture") == "lift":
        unused = {"data_config": FIXED_GROUPING, "model_config": FIXED_LOSS, "training_config": (*STAGES, "nll")}
    else:
        unused = {"training_config": STAGES if model.get("mode") == "Supervised" else ()}
    idle = ADAM if training.get("optimizer") == "sgd" else SGD
    unused["training_config"] = (*unused["training_config"], *idle)
    for name, fields in unused.items():
        told[name] = {k: v for k, v in told.get(name, {}).items() if k not in fields}
    return told


def _stage_fields(training: TrainingConfig) -> list[str]:
    return [name for name in STAGES if getattr(training, name)]


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


def _count_regime(data: DataConfig, model: ModelConfig, training: TrainingConfig) -> Iterator[str]:
    wanted = {
        "cnn_output_mode": "real_imag",
        "mode": "Unsupervised",
        "loss_function": "Poisson",
        "amplitude_physics_gain": 1.0,
        "intensity_scale_trainable": False,
    }
    if not training.nll:
        yield "TrainingConfig.nll is False but physics_forward_mode rectangular_scaled needs the Poisson loss; set it to True"
    for name, value in wanted.items():
        found = getattr(model, name)
        if found != value:
            yield f"ModelConfig.{name} is {found} but physics_forward_mode rectangular_scaled needs {value}; set it"
    pair = (data.scale_contract_version, data.measurement_domain)
    if pair != ("ci_intensity_v2", "count_intensity"):
        yield (
            f"DataConfig.scale_contract_version is {pair[0]} and measurement_domain {pair[1]} but physics_forward_mode "
            "rectangular_scaled needs ci_intensity_v2 and count_intensity; set them"
        )


def settled(sections: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, dict[str, object]], list[str]]:
    """Return the values without fields that exist only in PtychoPINN, and faults: those in use, contradicting channel numbers.

    If only a channel number is given, ``grid_size`` follows from it. If ``object_big`` is not given, single frames are
    not merged.
    """
    told, faults = without_left_out(sections)
    stated = {k: values.pop(k) for values in told.values() for k in CHANNEL_FIELDS if k in values}
    data = told.setdefault("data_config", {})
    counts = {value for value in stated.values() if isinstance(value, int)}
    if counts and "grid_size" not in data:
        side = isqrt(max(1, min(counts)))
        data["grid_size"] = (side, side)
    grid = data.get("grid_size", DataConfig().grid_size)
    sides = tuple(grid) if isinstance(grid, list | tuple) else grid
    channels = sides[0] * sides[1] if isinstance(sides, tuple) and len(sides) == 2 else None
    for name, value in stated.items():
        if value != channels:
            faults.append(f"{name} is {value!r} but grid_size {sides} makes groups of {channels}; leave {name} out")
    model = told.setdefault("model_config", {})
    if channels == 1:
        model.setdefault("object_big", False)
    return told, faults
