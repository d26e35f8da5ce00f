"""Options of the ``cnn`` network and of its physics. Defaults are PtychoPINN's, except for one frame per group."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, isqrt
from typing import Literal

from ptychopinn.errors import ReconstructionError

SIZES_PX = (64, 128, 256)
"""Sides of the patterns that the cnn accepts, px."""
BOTTOM_PX = 8
"""Side of the image at the bottom of the cnn, px; the encoder halves down to it."""
FEATURES = 32
"""Channels of the last decoder block for width factor 1; published checkpoints have it."""


@dataclass(frozen=True, slots=True)
class CnnOptions:
    """Form of the network.

    Parameters
    ----------
    size_px
        Side N of pattern and patch: 64, 128 or 256.
    members
        Number of frames of a group that the network predicts together: 1 or 4.
    width_factor
        Scale f of all channel counts.
    output
        Meaning of the two decoders: ``polar`` (amplitude, phase) or ``cartesian`` (real, imaginary).
    has_attention, has_bottleneck_attention
        Whether there is CBAM after each encoder block, and after the encoder.
    has_batch_norm
        Whether there is batch normalisation in the encoder, the second decoder and the shared decoder.
    has_border
        Whether the patch outside its central half is predicted; else it is 0.
    has_shared_decoder
        Whether one decoder with residual refinement makes both parts.
    takes_counts
        Whether the input is counts, not their square roots; None: if ``cartesian``.
    log_input_scale
        Logarithm of a fixed factor of the images; it replaces other factors.
    idle_encoder_attention, idle_decoder_attention, idle_kernel_px
        Attention that some checkpoints contain and that is not used.
    border_features, first_channels
        For old checkpoints: number of features that make the border, channels of the first decoder. None: ``members``.
    fourier_modes, fourier_width, fourier_blocks
        Frequencies along each axis, channels and layers of a generator of the type FNO
        (:mod:`ptychopinn.model.fourier`), which replaces encoder and decoder blocks; 0 modes: the cnn.
    """

    size_px: int = 64
    members: int = 1
    width_factor: int = 2
    output: Literal["polar", "cartesian"] = "polar"
    has_attention: bool = True
    has_batch_norm: bool = False
    has_border: bool = True
    amplitude_activation: Literal["silu", "sigmoid"] = "silu"
    has_bottleneck_attention: bool = False
    has_shared_decoder: bool = False
    takes_counts: bool | None = None
    log_input_scale: float | None = None
    idle_encoder_attention: bool = False
    idle_decoder_attention: Literal["none", "cbam", "eca", "spatial"] = "none"
    idle_kernel_px: int = 7
    border_features: int | None = None
    first_channels: int | None = None
    fourier_modes: int = 0
    fourier_width: int = 32
    fourier_blocks: int = 4

    def __post_init__(self) -> None:
        if self.size_px not in SIZES_PX:
            raise ReconstructionError(f"the cnn takes patterns of 64, 128 or 256 px, not {self.size_px}; crop to one")
        if self.members not in (1, 4):
            raise ReconstructionError(f"the cnn takes groups of 1 or 4 frames, not {self.members}; set gridsize 1 or 2")
        if not 0 <= self.fourier_modes <= self.size_px // 4:
            raise ReconstructionError(
                f"{self.fourier_modes} modes are not within the N/4 = {self.size_px // 4} of features of half the side; set fewer"
            )
        if self.fourier_modes and self.has_shared_decoder:
            raise ReconstructionError("a generator of the type FNO has no shared decoder; leave use_shared_decoder off")

    @property
    def sees_counts(self) -> bool:
        """Whether the input is scaled counts."""
        return self.output == "cartesian" if self.takes_counts is None else self.takes_counts

    @property
    def encoder_widths(self) -> list[int]:
        """Channels after each encoder block, finest first."""
        deepest = 4 * FEATURES * self.width_factor
        return [deepest >> level for level in reversed(range(self._levels))]

    @property
    def decoder_widths(self) -> list[int]:
        """Channels after each decoder block, coarsest first."""
        if self.fourier_modes:
            return [self.fourier_width]
        last = FEATURES * self.width_factor
        return [last << level for level in reversed(range(self._levels - 1))]

    @property
    def _levels(self) -> int:
        return (self.size_px // BOTTOM_PX).bit_length() - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PhysicsOptions:
    """Forward model of the training: from patches to patterns.

    Parameters
    ----------
    regime
        ``amplitude``, or ``counts`` with a cartesian network.
    object_big
        Whether the patches of a group are merged and cut out again. None: in groups of several frames.
    patch_weighting
        Weight for merging: ``central_mask``, ``uniform`` (the same, undamped), or ``probe`` (|P|^2).
    max_neighbor_distance_px
        Greatest distance of the members of a group; it determines the side of the merged region.
    probe_scale
        Inverse of the mean modulus of the normalised probe.
    has_probe_mask, probe_mask_sigma_px
        Whether the probe is multiplied by a soft disk of diameter N/2, and the softness of its edge.
    datasets
        Number of scans with separate trained scales.
    amplitude_gain
        Factor of the predicted amplitude.
    has_trained_scale
        Whether the predicted amplitude gets the trained alpha and beta of its data set.
    """

    regime: Literal["amplitude", "counts"] = "amplitude"
    object_big: bool | None = None
    patch_weighting: Literal["central_mask", "uniform", "probe"] = "central_mask"
    max_neighbor_distance_px: float = 3.0
    probe_scale: float = 4.0
    has_probe_mask: bool = False
    probe_mask_sigma_px: float = 1.0
    datasets: int = 1
    amplitude_gain: float = 1.0
    has_trained_scale: bool = False

    def region_px(self, network: CnnOptions) -> int:
        """Return the side of a group's region: N + (gridsize - 1) times the greatest distance, rounded up to even."""
        reach = 2 * ceil(ceil(self.max_neighbor_distance_px) / 2)
        return network.size_px + (isqrt(network.members) - 1) * reach
