"""Fields of PtychoPINN that this program does not have: their default is skipped, another value is refused with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptychopinn.config.section import Sections

ANY = object()
"""In place of a default: PtychoPINN itself does not use the field, so every value is skipped."""
OTHER_NETWORK = "it belongs to a network that this program does not have (FFNO, U-NO, hybrids)"
NO_FREQUENCY = "the border of a patch is predicted as in PtychoPINN's newest version, with fixed shares"
NOT_LOGGED = "this program does not log it"
LEFT_OUT: dict[str, tuple[object, str]] = {
    **{
        name: (default, OTHER_NETWORK)
        for name, default in {
            "fno_cnn_blocks": 2, "learned_input_channels": 1,
            "fno_input_transform": "none", "max_hidden_channels": None, "resnet_width": None,
            "spectral_bottleneck_blocks": 6, "spectral_bottleneck_modes": 12, "spectral_bottleneck_share_weights": True,
            "spectral_bottleneck_gate_init": 0.1, "spectral_bottleneck_gate_mode": "shared",
            "generator_output_mode": "real_imag",
        }.items()
    },
    "max_position_jitter": (ANY, ""),
    "decoder_last_amp_channels": (ANY, ""),
    "offset": (ANY, ""),
    "probe_mask_tensor": (None, "the mask of the probe is a disk; set probe_mask and probe_mask_sigma"),
    "probe_mask_diameter": (None, "the disk has half the side of the pattern; set probe_mask and probe_mask_sigma"),
    "edge_pad": (10, NO_FREQUENCY),
    "decoder_last_c_outer_fraction": (0.125, NO_FREQUENCY),
    "use_legacy_decoder_channel_override": (False, NO_FREQUENCY),
    "pad_object": (True, "the object is as large as the patches need, without padding"),
    "gaussian_smoothing_sigma": (0.0, "the probe is not smoothed; smooth it in its file"),
    "torch_mae_pred_l2_match_target": (False, "predictions are compared without rescaling each frame"),
    "log_grad_norm": (False, NOT_LOGGED),
    "grad_norm_log_freq": (ANY, ""),
    "log_patch_stats": (False, NOT_LOGGED),
    "patch_stats_limit": (ANY, ""),
    "pad_eval": (True, "patterns are not padded for inference"),
    "varpro_scaling": (ANY, ""),
}  # fmt: skip
"""Default in PtychoPINN, and the reason why other values are refused."""
LOSSES = {"poisson": "Poisson", "mae": "MAE"}
"""Loss for each ``torch_loss_mode``, which in PtychoPINN replaces ``loss_function``."""


def without_left_out(sections: Mapping[str, Mapping[str, Any]]) -> tuple[Sections, list[str]]:
    """Return the sections without these fields, and one sentence for each that would have an effect in PtychoPINN."""
    told = {name: {k: v for k, v in values.items() if k not in LEFT_OUT} for name, values in sections.items()}
    faults = [
        f"{name} is {value!r} but this program cannot follow it: {LEFT_OUT[name][1]}; leave it out"
        for values in sections.values()
        for name, value in values.items()
        if name in LEFT_OUT and LEFT_OUT[name][0] is not ANY and value != LEFT_OUT[name][0]
    ]
    mode = told.get("training_config", {}).pop("torch_loss_mode", None)
    if mode is not None:
        faults += _with_loss_mode(told.setdefault("model_config", {}), mode)
    return told, faults


def _with_loss_mode(model: dict[str, object], mode: object) -> list[str]:
    """Set the loss that ``torch_loss_mode`` selects; its default leaves the loss of a supervised training alone."""
    loss = LOSSES.get(str(mode).lower())
    if loss is None:
        return [f"torch_loss_mode is {mode!r}; set loss_function to one of {', '.join(LOSSES.values())}"]
    stated = model.get("loss_function", loss)
    if stated != loss and (stated, loss) != ("Poisson", "MAE") and model.get("mode") != "Supervised":
        return [f"torch_loss_mode is {mode!r} but loss_function is {stated!r}; leave torch_loss_mode out"]
    if model.get("mode") != "Supervised":
        model["loss_function"] = loss
    return []
