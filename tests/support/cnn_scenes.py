"""Forms of the cnn, scenes and losses that are compared with PtychoPINN's own numbers; used by the script that made those."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from tests.support.cnn_fill import patterns

NETWORKS: dict[str, dict[str, Any]] = {
    "C 4": {"members": 4},
    "C 1": {},
    "128 px, C 4": {"size_px": 128, "members": 4},
    "128 px, f 2": {"size_px": 128, "width_factor": 2},
    "256 px, f 2": {"size_px": 256, "width_factor": 2},
    "cartesian": {"members": 4, "output": "cartesian"},
    "cartesian, batch norm": {"members": 4, "output": "cartesian", "has_batch_norm": True},
    "batch norm": {"members": 4, "has_batch_norm": True},
    "no border": {"members": 4, "has_border": False},
    "sigmoid": {"amplitude_activation": "sigmoid"},
    "no attention": {"members": 4, "has_attention": False},
    "idle ECA in the encoder": {"members": 4, "has_attention": False, "idle_encoder_attention": True},
    "bottleneck attention": {"members": 4, "has_bottleneck_attention": True},
    "idle CBAM": {"members": 4, "idle_decoder_attention": "cbam"},
    "idle ECA": {"members": 4, "idle_decoder_attention": "eca"},
    "idle spatial": {"members": 4, "idle_decoder_attention": "spatial", "idle_kernel_px": 5},
    "shared": {"members": 4, "has_shared_decoder": True},
    "shared, 128 px": {"size_px": 128, "has_shared_decoder": True},
    "shared, batch norm": {"members": 4, "has_shared_decoder": True, "has_batch_norm": True},
    "shared, no border": {"members": 4, "has_shared_decoder": True, "has_border": False},
    "shared, cartesian": {"members": 4, "has_shared_decoder": True, "output": "cartesian"},
    "shared, sigmoid, idle ECA": {
        "has_shared_decoder": True,
        "amplitude_activation": "sigmoid",
        "idle_decoder_attention": "eca",
    },
    "old border": {"border_features": 4},
}
"""Options; the width factor is 1 and the size 64 px unless said."""

RECTANGULAR = {"members": 4, "output": "cartesian"}
COUNTS = {"regime": "counts"}
PHYSICS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], int]] = {
    "amplitude": ({"members": 4}, {}, {}, 1),
    "amplitude, two modes": ({"members": 4}, {}, {}, 2),
    "amplitude, C 1": ({}, {}, {}, 1),
    "amplitude, cartesian": (RECTANGULAR, {}, {}, 1),
    "amplitude, probe weights, mask": (
        {"members": 4},
        {"patch_weighting": "probe", "has_probe_mask": True},
        {},
        2,
    ),
    "amplitude, uniform weights": ({"members": 4}, {"patch_weighting": "uniform"}, {}, 1),
    "amplitude, large region": ({"members": 4}, {"max_neighbor_distance_px": 7.0}, {}, 1),
    "amplitude, gain": ({"members": 4}, {"amplitude_gain": 16.0}, {}, 1),
    "amplitude, trained scale": (
        {"members": 4, "log_input_scale": 9.210340371976184},
        {"has_trained_scale": True, "datasets": 2},
        {},
        1,
    ),
    "amplitude, MAE": ({"members": 4}, {}, {"loss_function": "MAE"}, 1),
    "amplitude, smooth": (
        {"members": 4},
        {},
        {
            "amp_loss": "Total_Variation",
            "phase_loss": "Mean_Deviation",
            "amp_loss_coeff": 1e-4,
            "phase_loss_coeff": 2e-4,
        },
        1,
    ),
    "counts": (RECTANGULAR, COUNTS, {}, 1),
    "counts, two modes, two data sets": (RECTANGULAR, {**COUNTS, "datasets": 2}, {}, 2),
    "counts, C 1": ({"output": "cartesian"}, COUNTS, {}, 1),
    "counts, probe weights, mask": (
        RECTANGULAR,
        {**COUNTS, "patch_weighting": "probe", "has_probe_mask": True},
        {},
        2,
    ),
}
"""Network, physics and loss options, and the number of probe modes."""


def scene(members: int, modes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return a probe ``(modes, 64, 64)``, amplitudes ``(2, C, 64, 64)`` and offsets ``(2, C, 1, 2)`` (y, x), pixels."""
    axis = torch.arange(64.0) - 32
    disk = 30 * torch.exp(-(axis[:, None].square() + axis.square()) / 220)
    chirp = torch.polar(torch.ones(64, 64), 0.02 * axis[:, None].square() + 0.01 * axis.square())
    tilted = 0.06 * axis * disk
    probe = torch.stack([disk * chirp, tilted * chirp.conj()])[:modes]
    where = 4 * torch.rand(2, members, 1, 2, generator=torch.Generator().manual_seed(5))
    return probe, 5 * patterns(64, members), where - where.mean(1, keepdim=True)


def scales(count: int) -> dict[str, Tensor]:
    """Return values for the scalars of the physics of ``count`` data sets."""
    step = 1 + 0.1 * torch.arange(count)
    return {
        "forward_model.alpha": 1.3 * step,
        "forward_model.beta": 0.05 * step,
        "forward_model.rect_scaler.s1": 1.1 * step,
        "forward_model.rect_scaler.s2": 0.8 * step,
    }


def upstream_configs(
    network: dict[str, Any], physics: dict[str, Any], loss: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the same as PtychoPINN's model_config and data_config say it."""
    members = network.get("members", 1)
    idle = network.get("idle_decoder_attention")
    counts = physics.get("regime") == "counts"
    model = {
        "C_model": members,
        "C_forward": members,
        "object_big": members > 1,
        "n_filters_scale": network.get("width_factor", 1),
        "cnn_output_mode": "real_imag" if network.get("output") == "cartesian" else "amp_phase",
        "amp_activation": network.get("amplitude_activation", "silu"),
        "batch_norm": network.get("has_batch_norm", False),
        "probe_big": network.get("has_border", True),
        "cbam_encoder": network.get("has_attention", True),
        "eca_encoder": network.get("idle_encoder_attention", False),
        "cbam_bottleneck": network.get("has_bottleneck_attention", False),
        "use_shared_decoder": network.get("has_shared_decoder", False),
        "cbam_decoder": idle == "cbam",
        "eca_decoder": idle == "eca",
        "spatial_decoder": idle == "spatial",
        "decoder_spatial_kernel": network.get("idle_kernel_px", 7),
        "use_legacy_decoder_channel_override": "border_features" in network,
        "intensity_scale_trainable": physics.get("has_trained_scale", False),
        "physics_forward_mode": "rectangular_scaled" if counts else "amplitude",
        "training_patch_weighting": physics.get("patch_weighting", "central_mask"),
        "probe_mask": physics.get("has_probe_mask", False),
        "amplitude_physics_gain": physics.get("amplitude_gain", 1.0),
        "num_datasets": physics.get("datasets", 1),
        **loss,
    }
    side = 2 if members == 4 else 1
    data = {
        "N": network.get("size_px", 64),
        "C": members,
        "grid_size": (side, side),
        "max_neighbor_distance": physics.get("max_neighbor_distance_px", 3.0),
        "scale_contract_version": "ci_intensity_v2" if counts else "legacy_v1",
        "measurement_domain": "count_intensity" if counts else "normalized_amplitude",
    }
    return model, data


def digest(names: Iterable[str]) -> str:
    """Return a hash of names, whatever their order."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()
