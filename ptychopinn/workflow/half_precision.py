"""The lift's network in half precision, where its pictures fit the patterns as well as with all bits."""

from __future__ import annotations

from typing import Literal

import torch

from ptychopinn.model import Model
from ptychopinn.model.base import CastableModel
from ptychopinn.physics.diffraction import rfactor_parts
from ptychopinn.simulate import Recipe, simulate_scan
from ptychopinn.workflow.inference import single_group

Dtype = Literal["auto", "float32", "bfloat16", "float16"]

MOST_CHANGE = 0.005
"""By how much of itself R may move."""

_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_FRAMES = 16
"""Number of simulated frames that are compared."""


def with_dtype(model: Model, dtype: Dtype) -> tuple[Model, str]:
    """Return a model with its network in a number type, and why it was left in float32 ("" where nothing was refused).

    Only the lift's network knows half precision; the projections around it are always complex64. Before it is used
    it looks at frames simulated for the model's own probe beside the network in float32.

    Parameters
    ----------
    dtype
        ``auto``: bfloat16 on a CUDA device that has it, else float32, whose numbers are the same on every machine.
    """
    full = model.castable
    wanted = _suited(full.probe.device) if dtype == "auto" and full is not None else dtype
    if wanted not in _TYPES:
        return model, ""
    if full is None:
        return model, f"a model {model.name} is float32 alone"
    half = full.with_dtype(_TYPES[wanted])
    before, after = _rfactors(full, half)
    if not abs(after - before) <= MOST_CHANGE * before:
        return model, f"in {wanted} R of simulated frames moves from {before:.4f} to {after:.4f}"
    return half, ""


def _suited(device: torch.device) -> str:
    return (
        "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    )


def _rfactors(*models: CastableModel) -> list[float]:
    """Return each model's R of single frames of one simulated scan through their probe."""
    probe = models[0].probe
    counts = float(probe.abs().square().sum())
    scan = simulate_scan(Recipe(size_px=probe.shape[-1], counts=counts, frames=_FRAMES), probe.cpu())
    lit, amplitude = scan.probe.to(probe.device), scan.amplitude.to(probe.device)
    found = []
    for model in models:
        patches = model.with_probe(lit).predict(single_group(amplitude[:, None]))[:, 0]
        misfit, total = rfactor_parts(lit, patches, amplitude)
        found.append(misfit / total)
    return found
