"""The lift's network in half precision, if its pictures fit the patterns as well as in float32."""

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
"""Greatest relative change of R: below the scatter between scans."""

_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_FRAMES = 16
"""Number of simulated frames that are compared."""


def with_dtype(model: Model, dtype: Dtype) -> tuple[Model, str]:
    """Return a model with its network in another number type, and why it stays in float32 ("" if it does not).

    Only the lift's network can run in half precision; its projections are always complex64. The two networks are first
    compared on frames simulated for the model's probe.

    Parameters
    ----------
    dtype
        ``auto``: bfloat16 on a CUDA device that supports it, else float32.
    """
    full = model.castable
    wanted = _suited(full.probe.device) if dtype == "auto" and full is not None else dtype
    if wanted not in _TYPES:
        return model, ""
    if full is None:
        return model, f"a model {model.name} runs in float32 only"
    half = full.with_dtype(_TYPES[wanted])
    before, after = _rfactors(full, half)
    if not abs(after - before) <= MOST_CHANGE * before:
        return model, f"in {wanted} R of simulated frames changes from {before:.4f} to {after:.4f}"
    return half, ""


def _suited(device: torch.device) -> str:
    return (
        "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    )


def _rfactors(*models: CastableModel) -> list[float]:
    """Return the R-factor of each model for single frames of one simulated scan with their probe."""
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
