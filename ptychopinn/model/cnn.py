r"""The model family ``cnn``: the network of PtychoPINN, trained for one probe and one kind of sample.

Hoidn, Mishra and Mehta, "Physics constrained unsupervised deep learning for rapid, high resolution scanning coherent
diffraction reconstruction", Sci. Rep. 13 (2023). An encoder halves the pattern down to 8 x 8; two decoders without skip
connections (or a shared one) bring it back, for amplitude and phase or for real and imaginary part.

There are two regimes with different units (:mod:`ptychopinn.model.cnn_scaling`):

* ``amplitude``: the input is sqrt(counts) times a factor, the probe is normalised, modes add coherently; the object's
  amplitude has an arbitrary scale;
* ``counts``: the input is counts times a factor, the probe is in photon units; cartesian output only.

Parameters have the names of published checkpoints (:mod:`ptychopinn.model.checkpoint_import`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor, nn

from ptychopinn.errors import GeometryError, ReconstructionError
from ptychopinn.model.base import Network
from ptychopinn.model.cnn_coder import Autoencoder, EncoderBlock
from ptychopinn.model.cnn_forward import ForwardModel
from ptychopinn.model.cnn_options import CnnOptions, PhysicsOptions
from ptychopinn.model.cnn_scaling import count_factor, rms_factor
from ptychopinn.tensor_dict import TensorDict

__all__ = ["TRAINER_PREFIX", "Cnn", "CnnOptions", "PhysicsOptions", "TrainableCnn"]

TRAINER_PREFIX = "model."
PHYSICS_PREFIX = "forward_model."
IDLE = "attention_blocks."
"""Part of the names of attention weights that checkpoints contain and the network does not use."""


class Cnn(Network):
    """The network: from scaled patterns ``(B, C, N, N)`` float32 to complex patches ``(B, C, N, N)``.

    ``input_scale_factor`` is the factor of the images in the training scan, for :meth:`predict`. If it is None, each group
    gets its own factor. The result does not depend on the batch in either case.
    """

    name = architecture_name = "cnn"
    can_look_again = False
    is_learned = True
    castable = None

    def __init__(self, options: CnnOptions) -> None:
        super().__init__()
        self.options = options
        self.input_scale_factor: float | None = None
        self.autoencoder = Autoencoder(options)
        self.register_load_state_dict_pre_hook(_drop_trainer_prefix)  # type: ignore[no-untyped-call]

    @property
    def architecture(self) -> dict[str, object]:
        """Options as plain data; those of the type FNO only where they act, so that older versions read a cnn."""
        whole = asdict(self.options)
        return whole if self.options.fourier_modes else {k: v for k, v in whole.items() if not k.startswith("fourier_")}

    @property
    def size_px(self) -> int:
        """Side N of the patterns that the network accepts."""
        return self.options.size_px

    @property
    def members(self) -> int:
        """Number of frames of a group that the network predicts together."""
        return self.options.members

    @property
    def main_part(self) -> nn.Module:
        """The part whose graph is compiled."""
        return self.autoencoder

    def encoder_parts(self) -> list[nn.Module]:
        """Return the parts of the encoder."""
        return [self.autoencoder.encoder]

    def use_acting_weights_only(self, *, has_trained_scales: bool = True) -> None:
        """Switch off the gradients of attention weights that the network does not use."""
        for name, parameter in self.named_parameters():
            if IDLE in name:
                parameter.requires_grad_(False)

    def use_scaling(self, scaling: Mapping[str, Any]) -> None:
        """Set the input scale of the training (count regime)."""
        if self.options.sees_counts and "rms_input_scale" in scaling:
            self.input_scale_factor = float(scaling["rms_input_scale"])

    def parts(self, scaled: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two real parts of the patches: amplitude and phase, or real and imaginary part.

        A network for single frames gets the members of a group one by one.
        """
        out: tuple[Tensor, Tensor]
        if self.options.members == 1 and scaled.shape[1] > 1:
            first, second = self.autoencoder(scaled.flatten(0, 1)[:, None])
            return first.view(scaled.shape), second.view(scaled.shape)
        out = self.autoencoder(scaled)
        return out

    def combine(self, first: Tensor, second: Tensor) -> Tensor:
        """Return complex patches ``(B, C, N, N)`` from their two parts."""
        if first.shape != second.shape:  # old checkpoints have one amplitude for a group
            first = first.expand_as(second)
        if self.options.output == "cartesian":
            return torch.complex(first, second)
        return torch.complex(first * torch.cos(second), first * torch.sin(second))

    def forward(self, scaled: Tensor) -> Tensor:
        """Return complex64 patches ``(B, C, N, N)`` of scaled patterns."""
        return self.combine(*self.parts(scaled))

    def forward_predict(
        self, images: Tensor, positions: Tensor | None, probe: Tensor | None, input_scale_factor: Tensor
    ) -> Tensor:
        """Return patches of ``images * input_scale_factor``, zero frequency in the middle.

        Images are amplitudes, or counts if the network takes those; 0 = no data. Positions and probe are not used; they
        are arguments because all models have one signature.
        """
        del positions, probe
        out: Tensor = self(images * self.input_factor(input_scale_factor))
        return out

    def input_factor(self, input_scale_factor: Tensor) -> Tensor:
        """Return the factor of the images: the given one, unless the options have a fixed one."""
        fixed = self.options.log_input_scale
        return input_scale_factor if fixed is None else torch.full_like(input_scale_factor, fixed).exp()

    def predict(self, group: TensorDict, start: Tensor | None = None, support: Tensor | None = None) -> Tensor:
        """Return patches ``(B, C, N, N)`` complex64 for ``images (B, C, N, N)``, amplitudes, -1 = no data.

        A network for four frames gets a single frame four times; a network for single frames gets the members of a group
        one by one.

        Raises
        ------
        GeometryError
            If the frames have another size than the network's, or groups have neither 1 frame nor as many as the network.
        """
        del start, support  # the cnn cannot look again
        amplitude: Tensor = group["images"]
        members, channels = amplitude.shape[1], self.options.members
        self._check(amplitude)
        images = amplitude.clamp_min(0.0)
        if channels == 1:
            images = images.flatten(0, 1)[:, None]
        else:
            images = images.expand(-1, channels, -1, -1)
        with torch.inference_mode():
            images = images.square() if self.options.sees_counts else images
            patches = self.forward_predict(images, None, None, self.factor_of(images))
        return patches.view(amplitude.shape) if channels == 1 else patches.expand_as(images)[:, :members]

    def factor_of(self, images: Tensor) -> Tensor:
        """Return the factor of ``images (B, C, N, N)`` in :meth:`predict`; images are amplitudes, or counts.

        It is ``(1, 1, 1, 1)`` if that of the training scan is known, else one for each group ``(B, 1, 1, 1)``, or for each
        frame ``(B, C, 1, 1)`` if the network is for single frames.
        """
        if self.input_scale_factor is not None:
            return images.new_full((1, 1, 1, 1), self.input_scale_factor)
        own = count_factor if self.options.sees_counts else rms_factor
        if self.options.members > 1:
            return own(images, "Group")
        return own(images.flatten(0, 1)[:, None], "Group").view(*images.shape[:2], 1, 1)

    def _check(self, images: Tensor) -> None:
        side, channels = self.options.size_px, self.options.members
        if images.shape[-2:] != (side, side):
            rows, columns = images.shape[-2:]
            raise GeometryError(f"frames of {rows} x {columns} px for a cnn of {side} px; crop them to that")
        if channels > 1 and images.shape[1] not in (1, channels):
            raise GeometryError(f"groups of {images.shape[1]} frames for a cnn of {channels}; set gridsize to fit")


def _drop_trainer_prefix(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for key in [k for k in state if k.startswith(prefix + TRAINER_PREFIX)]:
        state[prefix + key[len(prefix + TRAINER_PREFIX) :]] = state.pop(key)


class TrainableCnn(Cnn):
    """The network with its forward model; it has all parameters of PtychoPINN, so its state_dicts load unchanged.

    The forward model is for groups of ``members`` frames; None: as many as the network takes.
    """

    def __init__(self, options: CnnOptions, physics: PhysicsOptions | None = None, members: int | None = None) -> None:
        super().__init__(options)
        self.physics = physics or PhysicsOptions()
        if self.physics.regime == "counts" and options.output != "cartesian":
            raise ReconstructionError('the count regime scales real and imaginary part apart; set output "cartesian"')
        if self.physics.regime == "counts" and self.physics.amplitude_gain != 1:
            raise ReconstructionError("the count regime has no amplitude gain; leave amplitude_gain at 1")
        self.forward_model = ForwardModel(replace(options, members=members or options.members), self.physics)

    def without_physics(self) -> Cnn:
        """Return the network without its forward model, as bundles store it; the weights are shared."""
        network = Cnn(self.options)
        network.input_scale_factor = self.input_scale_factor
        network.autoencoder = self.autoencoder
        return network.train(self.training)

    def use_acting_weights_only(self, *, has_trained_scales: bool = True) -> None:
        """Switch off the gradients of unused weights: unused attention, and the scales of the other regime."""
        super().use_acting_weights_only()
        if not self.options.has_attention and self.options.idle_encoder_attention:
            for block in self.autoencoder.encoder.blocks:
                if isinstance(block, EncoderBlock):
                    block.attention.requires_grad_(False)
        model = self.forward_model
        model.rect_scaler.requires_grad_(self.physics.regime == "counts" and has_trained_scales)
        for scale in (model.alpha, model.beta):
            scale.requires_grad_(self.physics.has_trained_scale and self.physics.regime == "amplitude")

    def trained_scaling(self) -> dict[str, list[float]]:
        """Return the trained scales of the forward model."""
        return {k: v.tolist() for k, v in self.state_dict().items() if k.startswith(PHYSICS_PREFIX)}
