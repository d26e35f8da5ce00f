"""The small public interface: a model from a bundle, and inference with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from tensordict import TensorDict
from torch import Tensor

from ptychopinn.bundle import Bundle, build_network, read_model, write_bundle
from ptychopinn.errors import GeometryError
from ptychopinn.inference import choose_batch, single_group
from ptychopinn.model import Model
from ptychopinn.model.network import CorrectionNet, LiftNet

__all__ = ["InferenceEngine", "PtychoModel"]


class PtychoModel:
    """A trained model, free of any probe."""

    def __init__(self, bundle: Bundle, path: Path) -> None:
        self.bundle = bundle
        self._network = build_network(bundle, path)

    @classmethod
    def load(cls, path: Path | str) -> PtychoModel:
        """Return the model in a bundle or a checkpoint of PtychoPINN. Raises :class:`FileFormatError` for anything else."""
        path = Path(path)
        return cls(read_model(path), path)

    def save(self, path: Path | str) -> None:
        """Write the model as a bundle."""
        write_bundle(Path(path), self.bundle)

    def for_probe(self, probe: Tensor) -> Model:
        """Return the model ready for a probe ``(modes, N, N)`` or ``(N, N)``, photon units."""
        if not isinstance(self._network, CorrectionNet):
            return self._network
        modes = torch.as_tensor(probe, dtype=torch.complex64)
        return LiftNet(modes[None] if modes.ndim == 2 else modes, self._network)

    def forward_predict(self, images: Tensor, positions: Tensor, probe: Tensor, input_scale_factor: Tensor) -> Tensor:
        """Return patches ``(B, C, N, N)`` complex64 of ``images`` ``(B, C, N, N)``.

        For the lift ``images * input_scale_factor`` are amplitudes sqrt(counts), -1 = no data, in the probe's photon
        units, and ``positions`` ``(B, C, 1, 2)`` [y, x] pixels relative to the group's centre let the members of a group
        see each other. A cnn uses neither positions nor probe.
        """
        if not isinstance(self._network, CorrectionNet):
            return self._network.forward_predict(images, positions, probe, input_scale_factor)
        scaled = torch.where(images < 0, images, images * input_scale_factor)
        group = TensorDict({"images": scaled, "coords_relative": positions}, batch_size=[len(images)])
        return self.for_probe(probe).predict(group)


class InferenceEngine:
    """Predicts patches with a model, in batches of a size measured here once."""

    def __init__(self, model: PtychoModel) -> None:
        self._model = model

    def predict(self, images: ArrayLike, *, probe: ArrayLike, batch: int | None = None) -> NDArray[np.complex64]:
        """Return patches ``(B, C, N, N)`` complex64 of amplitudes ``(B, C, N, N)`` or ``(B, N, N)``; -1 = no data."""
        amplitude = torch.as_tensor(np.asarray(images, dtype=np.float32))
        amplitude = amplitude[:, None] if amplitude.ndim == 3 else amplitude
        model, side = self._model.for_probe(torch.as_tensor(np.asarray(probe))), np.shape(probe)[-1]
        if amplitude.ndim != 4 or tuple(amplitude.shape[-2:]) != (side, side):
            raise GeometryError(
                f"images of shape {tuple(amplitude.shape)} do not fit a probe of {side} px; give (B, C, {side}, {side})"
            )
        size = batch or choose_batch(model, side, amplitude.device)
        singles = amplitude.flatten(0, 1)[:, None]
        parts = [model.predict(single_group(singles[i : i + size])) for i in range(0, len(singles), size)]
        patches: NDArray[np.complex64] = torch.cat(parts).reshape(amplitude.shape).numpy()
        return patches
