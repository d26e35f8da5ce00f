"""Scores of a network on held-out simulated scans, stitched as a whole.

Held-out scans have other seeds than training; every third also has an object family or a probe kind that training never
draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from ptychopinn.model.network import TINY_MODULUS, predict_look, stitched_start
from ptychopinn.model.optics import ProbeOptics
from ptychopinn.model.overlap import Overlap
from ptychopinn.physics.diffraction import rfactor_parts
from ptychopinn.simulate import PROBES, TEXTURES, Recipe, SimulatedScan, draw_recipe
from ptychopinn.simulate.detector import DetectorFaults

HELD_OUT_TEXTURE = "maze"
HELD_OUT_PROBE = "diffuser"
CHUNK_FRAMES = 16
"""Frames predicted at once; bounds the memory."""
_SEED = 2**40
"""Seed of the held-out scans; training uses small ones."""


def training_kinds() -> tuple[list[str], list[str]]:
    """Return the probe kinds and object families of the training."""
    return [k for k in PROBES if k != HELD_OUT_PROBE], [k for k in TEXTURES if k != HELD_OUT_TEXTURE]


def heldout_recipes(sizes_px: Sequence[int] = (64, 64, 64, 64, 128), seed: int = 0, frames: int = 64) -> list[Recipe]:
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
            plain = replace(drawn, counts=counts[column % 5], overlap_ratio=float(rng.uniform(0.6, 0.8)), frames=frames)
            out.append(replace(plain, probe_error=0.0, position_error_px=0.0, faults=DetectorFaults()))
    return out


def predict_looks(
    network: nn.Module | None,
    optics: ProbeOptics,
    amplitude: Tensor,
    overlap: Overlap,
    looks: int,
    *,
    projections: int = 2,
) -> list[Tensor]:
    """Return the patches ``(1, n, N, N)`` after each look.

    Parameters
    ----------
    network
        None: the projections alone.
    amplitude : (n, N, N) float32
        -1 = no data, zero frequency in the middle.
    """
    frames = torch.fft.ifftshift(amplitude, dim=(-2, -1))[None]
    out: list[Tensor] = []
    start: Tensor | None = None
    support: Tensor | None = None
    for _ in range(looks):
        parts = []
        for begin in range(0, frames.shape[1], CHUNK_FRAMES):
            part = slice(begin, begin + CHUNK_FRAMES)
            begun = None if start is None else start[:, part]
            around = None if support is None else support[:, part]
            parts.append(predict_look(network, optics, frames[:, part], begun, around, projections=projections))
        out.append(torch.cat(parts, dim=1))
        start, support = stitched_start(out[-1], overlap, optics)
    return out


def phase_correlation(estimate: Tensor, truth: Tensor, covered: Tensor) -> float:
    """Return Pearson's correlation of two phases over ``covered``, after removing the mean phase of each."""
    a, b = estimate[covered], truth[covered]
    phases = []
    for field in (a, b):
        mean = field.sum()
        phases.append(torch.angle(field * (mean.conj() / mean.abs().clamp_min(TINY_MODULUS))).double())
    found = float(torch.corrcoef(torch.stack(phases))[0, 1])
    return found if np.isfinite(found) else 0.0


class Layout:
    """A simulated scan on the smallest canvas ``(H, W)`` with all its frames, and the truth there.

    ``corners`` ``(n, 2)`` are the top-left pixels of the frames; ``covered`` marks the pixels that are compared.
    """

    def __init__(self, scan: SimulatedScan) -> None:
        self.optics = ProbeOptics(scan.probe[None])
        corners = torch.from_numpy(scan.corners_px)
        low = corners.amin(0)
        self.corners = corners - low
        self.overlap = Overlap(self.corners[None], scan.recipe.size_px)
        (top, left), (height, width) = low.tolist(), self.overlap.shape
        self.truth = scan.object[top : top + height, left : left + width]
        frames = torch.ones(1, *scan.amplitude.shape, dtype=torch.complex64)
        total = self.overlap.stitch(frames, self.optics.weight)[1][0]
        self.covered = total > 0.3 * total.median().clamp_min(0.5)

    def stitch(self, patches: Tensor) -> Tensor:
        """Return the picture ``(H, W)`` of patches ``(1, n, N, N)``."""
        return self.overlap.stitch(patches, self.optics.weight)[0][0]

    def correlation(self, picture: Tensor) -> float:
        """Return the correlation of the phases of a picture and the truth."""
        return phase_correlation(picture, self.truth, self.covered)


def score_scan(network: nn.Module | None, scan: SimulatedScan, looks: int = 2) -> list[dict[str, float]]:
    """Return, after each look, ``correlation`` of the stitched phase with the truth and the mosaic's ``rfactor``."""
    layout, scores = Layout(scan), []
    with torch.inference_mode():
        for patches in predict_looks(network, layout.optics, scan.amplitude, layout.overlap, looks):
            picture = layout.stitch(patches)
            misfit, whole = rfactor_parts(scan.probe, layout.overlap.cut(picture[None])[0], scan.amplitude)
            scores.append({"correlation": layout.correlation(picture), "rfactor": misfit / whole})
    return scores


def summary(recipes: Sequence[Recipe], scores: Sequence[list[dict[str, float]]]) -> dict[str, dict[str, list[float]]]:
    """Return, by probe kind, by counts (with the size), for new families, and over all: after each look the median
    correlation, then the share of scans above 0.95, then the median R-factor.
    """
    classes: dict[str, list[list[dict[str, float]]]] = {}
    for recipe, looks in zip(recipes, scores, strict=True):
        names = ["all", recipe.probe_kind, f"{recipe.size_px} px, {recipe.counts:.0e} counts"]
        if recipe.probe_kind == HELD_OUT_PROBE or recipe.texture == HELD_OUT_TEXTURE:
            names.append("new family")
        for name in names:
            classes.setdefault(name, []).append(looks)
    return {name: _summary(members) for name, members in classes.items()}


def _summary(members: list[list[dict[str, float]]]) -> dict[str, list[float]]:
    columns = list(zip(*members, strict=True))
    correlation = [np.array([s["correlation"] for s in column]) for column in columns]
    return {
        "correlation": [round(float(np.median(c)), 4) for c in correlation],
        "above_0.95": [round(float((c >= 0.95).mean()), 3) for c in correlation],
        "rfactor": [round(float(np.median([s["rfactor"] for s in column])), 4) for column in columns],
    }
