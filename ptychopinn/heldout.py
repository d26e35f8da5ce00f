"""Scores of a network on simulated scans that it never saw, whole scans stitched.

Held-out scans differ from training in their seeds; every third also in its object family or its probe kind, which are
kept out of training altogether.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from ptychopinn.model.network import look, stitched_start
from ptychopinn.model.optics import Optics
from ptychopinn.model.overlap import Overlap
from ptychopinn.physics import rfactor_parts
from ptychopinn.simulate import PROBES, TEXTURES, Recipe, SimulatedScan, draw_recipe, simulate_scan
from ptychopinn.simulate.detector import Faults

HELD_OUT_TEXTURE = "maze"
HELD_OUT_PROBE = "diffuser"
_SEED = 2**40


def training_kinds() -> tuple[list[str], list[str]]:
    """Return probe kinds and object families that training may use."""
    return [k for k in PROBES if k != HELD_OUT_PROBE], [k for k in TEXTURES if k != HELD_OUT_TEXTURE]


def heldout_recipes(sizes_px: Sequence[int] = (64, 64, 64, 64, 128), seed: int = 0) -> list[Recipe]:
    """Return recipes: each probe kind at 1e3, 1e4, 1e5, 1e6 counts (and 1e5 at the last size), overlap 60-80 %."""
    rng = np.random.default_rng((_SEED, seed))
    counts = (1e3, 1e4, 1e5, 1e6, 1e5)
    out = []
    for number, kind in enumerate(PROBES):
        for column, size in enumerate(sizes_px):
            held_out = (number + column) % 3 == 0
            drawn = draw_recipe(
                size, rng, probe_kinds=[kind], textures=[HELD_OUT_TEXTURE] if held_out else training_kinds()[1]
            )
            plain = replace(drawn, counts=counts[column % 5], overlap_ratio=float(rng.uniform(0.6, 0.8)), frames=64)
            out.append(replace(plain, probe_error=0.0, position_error_px=0.0, faults=Faults()))
    return out


def looks_at(
    network: nn.Module | None, optics: Optics, amplitude: Tensor, overlap: Overlap, looks: int, projections: int = 2
) -> list[Tensor]:
    """Return the patches ``(1, n, N, N)`` after each look; amplitudes ``(n, N, N)`` with the zero frequency in the middle."""
    frames = torch.fft.ifftshift(amplitude, dim=(-2, -1))[None]
    out: list[Tensor] = []
    start: Tensor | None = None
    support: Tensor | None = None
    for _ in range(looks):
        parts = []
        for part in torch.arange(frames.shape[1]).split(16):
            some = [None if t is None else t[:, part] for t in (start, support)]
            parts.append(look(network, optics, frames[:, part], *some, projections=projections))
        out.append(torch.cat(parts, dim=1))
        start, support = stitched_start(out[-1], overlap, optics)
    return out


def phase_correlation(estimate: Tensor, truth: Tensor, covered: Tensor) -> float:
    """Return Pearson's correlation of two phases over ``covered``, each turned so that its mean is around 0."""
    a, b = estimate[covered], truth[covered]
    phases = []
    for field in (a, b):
        mean = field.sum()
        phases.append(torch.angle(field * (mean.conj() / mean.abs().clamp_min(1e-12))).double())
    found = float(torch.corrcoef(torch.stack(phases))[0, 1])
    return found if np.isfinite(found) else 0.0


def score_scan(network: nn.Module | None, scan: SimulatedScan, looks: int = 2) -> list[dict[str, float]]:
    """Return, after each look, ``correlation`` of the stitched phase with the truth and the mosaic's ``rfactor``."""
    optics = Optics(scan.probe[None])
    corners = torch.from_numpy(scan.corners_px)
    low = corners.amin(0)
    overlap = Overlap((corners - low)[None], scan.recipe.size_px)
    scores = []
    with torch.inference_mode():
        for patches in looks_at(network, optics, scan.amplitude, overlap, looks):
            merged, total = overlap.stitch(patches, optics.weight)
            height, width = overlap.shape
            truth = scan.object[int(low[0]) : int(low[0]) + height, int(low[1]) : int(low[1]) + width]
            covered = total[0] > 0.3 * total[0].median().clamp_min(0.5)
            misfit, whole = rfactor_parts(scan.probe, overlap.cut(merged)[0], scan.amplitude)
            scores.append({"correlation": phase_correlation(merged[0], truth, covered), "rfactor": misfit / whole})
    return scores


def score(network: nn.Module | None, recipes: Sequence[Recipe], looks: int = 2) -> list[list[dict[str, float]]]:
    """Return :func:`score_scan` of each recipe."""
    return [score_scan(network, simulate_scan(recipe), looks) for recipe in recipes]
