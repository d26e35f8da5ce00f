"""From the workflow's configurations to the options of the ``cnn`` and of its physics."""

from __future__ import annotations

from math import log
from typing import Literal

from ptychopinn.config.sections import DataConfig, ModelConfig
from ptychopinn.model.cnn_options import CnnOptions, PhysicsOptions


def cnn_options(data: DataConfig, model: ModelConfig) -> CnnOptions:
    """Return the form of the network; :class:`CnnOptions` raises an error for unsupported ones."""
    is_cartesian = model.cnn_output_mode == "real_imag"
    return CnnOptions(
        size_px=data.N,
        members=data.C,
        width_factor=model.n_filters_scale,
        output="cartesian" if is_cartesian else "polar",
        has_attention=model.cbam_encoder,
        has_batch_norm=model.batch_norm,
        has_border=model.probe_big,
        amplitude_activation="sigmoid" if model.amp_activation == "sigmoid" else "silu",
        has_bottleneck_attention=model.cbam_bottleneck,
        has_shared_decoder=model.use_shared_decoder,
        takes_counts=False if is_cartesian and model.physics_forward_mode == "amplitude" else None,
        log_input_scale=log(model.intensity_scale) if model.intensity_scale_trainable else None,
        idle_encoder_attention=model.eca_encoder,
        idle_decoder_attention=_idle(model),
        idle_kernel_px=model.decoder_spatial_kernel,
        fourier_modes=model.fno_modes if model.architecture == "fno" else 0,
        fourier_width=model.fno_width,
        fourier_blocks=model.fno_blocks,
    )


def physics_options(data: DataConfig, model: ModelConfig) -> PhysicsOptions:
    """Return the options of the forward model in the training."""
    return PhysicsOptions(
        regime="counts" if model.physics_forward_mode == "rectangular_scaled" else "amplitude",
        object_big=model.object_big,
        patch_weighting=model.training_patch_weighting,
        max_neighbor_distance_px=data.max_neighbor_distance,
        probe_scale=data.probe_scale,
        has_probe_mask=bool(model.probe_mask),
        probe_mask_sigma_px=model.probe_mask_sigma,
        datasets=model.num_datasets,
        amplitude_gain=model.amplitude_physics_gain,
        has_trained_scale=model.intensity_scale_trainable,
    )


def _idle(model: ModelConfig) -> Literal["none", "cbam", "eca", "spatial"]:
    if model.cbam_decoder:
        return "cbam"
    if model.eca_decoder:
        return "eca"
    return "spatial" if model.spatial_decoder else "none"
