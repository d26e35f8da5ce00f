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
from ptychopinn.inference import Reconstruction, choose_batch, reconstruct, single_group
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
        """Return the model ready for a probe ``(modes, N, N)`` or ``(N, N)``, photon units.

        PtychoPINN's ``(B, C, modes, N, N)`` is taken too, if all of its B * C probes are one.
        """
        if not isinstance(self._network, CorrectionNet):
            return self._network
        return LiftNet(_one_probe(probe), self._network)

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


def _one_probe(probe: Tensor) -> Tensor:
    """Return a probe as ``(modes, N, N)`` complex64."""
    modes = torch.as_tensor(probe, dtype=torch.complex64)
    if modes.ndim == 5:
        every = modes.flatten(0, 1)
        if not bool((every == every[:1]).all()):
            raise GeometryError(
                f"the batch has several probes (shape {tuple(modes.shape)}); predict each one's frames apart"
            )
        modes = every[0]
    modes = modes[None] if modes.ndim == 2 else modes
    if modes.ndim != 3 or modes.shape[1] != modes.shape[2]:
        raise GeometryError(f"the probe has shape {tuple(modes.shape)}; give (modes, N, N)")
    return modes


class InferenceEngine:
    """Predicts patches and whole scans with a model, in batches of a size measured here once."""

    def __init__(self, model: PtychoModel) -> None:
        self._model = model
        self._batches: dict[int, int] = {}

    def predict(self, images: ArrayLike, *, probe: ArrayLike, batch: int | None = None) -> NDArray[np.complex64]:
        """Return patches ``(B, C, N, N)`` complex64 of amplitudes ``(B, C, N, N)`` or ``(B, N, N)``; -1 = no data."""
        amplitude = torch.as_tensor(np.asarray(images, dtype=np.float32))
        amplitude = amplitude[:, None] if amplitude.ndim == 3 else amplitude
        model, side = self._model.for_probe(torch.as_tensor(np.asarray(probe))), np.shape(probe)[-1]
        if amplitude.ndim != 4 or tuple(amplitude.shape[-2:]) != (side, side):
            raise GeometryError(
                f"images of shape {tuple(amplitude.shape)} do not fit a probe of {side} px; give (B, C, {side}, {side})"
            )
        size = batch or self._batch(model, side)
        singles = amplitude.flatten(0, 1)[:, None]
        parts = [model.predict(single_group(singles[i : i + size])) for i in range(0, len(singles), size)]
        patches: NDArray[np.complex64] = torch.cat(parts).reshape(amplitude.shape).numpy()
        return patches

    def reconstruct(
        self, images: ArrayLike, positions_px: ArrayLike, *, probe: ArrayLike, looks: int = 1
    ) -> Reconstruction:
        """Predict and stitch a scan: amplitudes ``(n, N, N)``, -1 = no data, at positions ``(n, 2)`` [y, x], pixels."""
        amplitude = torch.as_tensor(np.asarray(images, dtype=np.float32))
        where = np.asarray(positions_px, dtype=np.float64)
        modes = _one_probe(torch.as_tensor(np.asarray(probe)))
        model, side = self._model.for_probe(modes), modes.shape[-1]
        if tuple(amplitude.shape) != (len(where), side, side) or where.shape[1:] != (2,):
            raise GeometryError(
                f"images {tuple(amplitude.shape)}, positions {where.shape} and a probe of {side} px do not fit together; "
                f"give (n, {side}, {side}) and (n, 2)"
            )
        batch = self._batch(model, side)
        return reconstruct(model, modes, amplitude, where, looks=looks, batch=batch)

    def _batch(self, model: Model, size_px: int) -> int:
        if size_px not in self._batches:
            self._batches[size_px] = choose_batch(model, size_px, torch.device("cpu"))
        return self._batches[size_px]
