r"""The default model ``lift``: projections with the probe as data, then a small U-shaped correction network.

A *look* at a frame projects a start (1 at first; later the patch of the stitched neighbours) ``projections`` times onto
the measured amplitude; the network corrects the result. Its inputs do not depend on the free phases and scales, so one set
of weights serves any probe, sample, count level and N:

* the start is multiplied by a phase so that its |P|^2-weighted mean is real; the result is multiplied by the inverse;
* with s the rms of the lifted object minus 1 under the probe, all inputs of the object are divided by s and the network's
  correction is multiplied by s, so that weak samples look like strong ones; log s is an input;
* the inputs of the probe are its amplitude, its photons per pixel and its local phase slope, which do not depend on a
  constant or linear phase.

All convolutions run at half resolution or less, without normalisation layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ptychopinn.model.base import Network
from ptychopinn.model.optics import ProbeOptics, Step
from ptychopinn.model.overlap import Overlap

OBJECT_PLANES = 7
"""Input planes of the object: lift, last update and stitched neighbours (complex), and how well these are known."""
OPTICS_PLANES = 4
"""Input planes of the probe: amplitude, photons, local phase slope (y, x)."""
FRAME_NUMBERS = 4
"""Input numbers of a frame: log scale, log misfit, counts over the vacuum, dose."""
TINY_MODULUS = 1e-12
"""Lowest modulus that a mean is divided by to get its phase."""
DIM_WEIGHT = 0.03
"""Weight |P|^2 / max at which the lift is trusted half: below it, patches are mostly noise."""
SCALES = (0.005, 2.0)
"""Range of the contrast that inputs are divided by: weaker samples are noise, stronger ones wrap their phase."""
FEW_WEIGHT = 1e-3
"""Added to the weights of all frames at a pixel; pixels with less count as unknown."""
LEAST_MISFIT = 1e-3
"""Lowest R-factor as an input, so that its logarithm is finite."""


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        with torch.no_grad():
            self.second.weight.mul_(0.3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.second(functional.relu(self.first(functional.relu(x)), inplace=True))
        return out


class CorrectionNet(Network):
    """U-shaped network on pixel-unshuffled planes.

    Parameters
    ----------
    widths
        Channels at 1/2, 1/4, 1/8, ... of the resolution.
    depths
        Residual blocks at each level, on the way down and again on the way up (the last level: once).
    """

    architecture_name = "lift-correction"
    uses_projections = True

    def __init__(self, widths: Sequence[int] = (32, 64, 96, 128), depths: Sequence[int] = (1, 1, 1, 2)) -> None:
        super().__init__()
        self.architecture = {"widths": list(widths), "depths": list(depths)}
        self.stem = nn.Conv2d(4 * OBJECT_PLANES, widths[0], 3, padding=1)
        self.stem_optics = nn.Conv2d(4 * OPTICS_PLANES, widths[0], 3, padding=1)
        self.numbers = nn.ModuleList(nn.Linear(FRAME_NUMBERS, w) for w in (widths[0], widths[-1]))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in zip(widths, widths[1:], strict=False))
        self.up = nn.ModuleList(nn.Conv2d(b, 4 * a, 1) for a, b in zip(widths, widths[1:], strict=False))
        self.coders = nn.ModuleList(
            nn.Sequential(*(_ResidualBlock(w) for _ in range(d))) for w, d in zip(widths, depths, strict=True)
        )
        self.decoders = nn.ModuleList(
            nn.Sequential(*(_ResidualBlock(w) for _ in range(d))) for w, d in zip(widths[:-1], depths[:-1], strict=True)
        )
        self.head = nn.Conv2d(widths[0], 4 * 4, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    @property
    def main_part(self) -> nn.Module:
        """The part whose graph is compiled: all of it."""
        return self

    def encoder_parts(self) -> list[nn.Module]:
        """Return the parts that make its encoder."""
        return [self.stem, self.stem_optics, self.numbers, self.down, self.coders]

    def forward(self, planes: Tensor, optics: Tensor, numbers: Tensor) -> Tensor:
        """Return ``(B, 4, s, s)``: correction (real, imaginary), gain of the lift minus 1, logit of the last step's gain.

        ``planes (B, 7, s, s)``, ``optics (G, 4, s, s)`` with B a multiple of G, ``numbers (B, 4)``; s a multiple of 16.
        """
        x = self.stem(functional.pixel_unshuffle(planes, 2))
        seen = self.stem_optics(functional.pixel_unshuffle(optics, 2))
        shared = seen[:, None] + self.numbers[0](numbers).view(len(seen), -1, x.shape[1], 1, 1)
        x = x + shared.flatten(0, 1)
        skips = []
        for coder, down in zip(self.coders, self.down, strict=False):
            x = coder(x)
            skips.append(x)
            x = down(x)
        x = self.coders[-1](x + self.numbers[1](numbers)[:, :, None, None])
        for decoder, up, skip in zip(reversed(self.decoders), reversed(self.up), reversed(skips), strict=True):
            x = decoder(functional.pixel_shuffle(up(x), 2) + skip)
        out: Tensor = functional.pixel_shuffle(self.head(functional.relu(x)), 2)
        return out


def channels_last(network: CorrectionNet) -> CorrectionNet:
    """Return the network with its weights in the layout that convolutions on CPUs run best in."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def predict_look(
    network: nn.Module | None,
    optics: ProbeOptics,
    amplitude: Tensor,
    start: Tensor | None = None,
    support: Tensor | None = None,
    *,
    projections: int = 2,
) -> Tensor:
    """Return the patches ``(G, M, N, N)`` complex64 of one look.

    Parameters
    ----------
    network
        None: the projections alone.
    amplitude : (G, M, N, N) float32
        -1 = no data, zero frequency at the corner.
    start : (G, M, N, N) complex64, optional
        The stitched neighbours; 1 if there are none.
    support : (G, M, N, N) float32, optional
        Weight of the OTHER frames at each pixel of ``start``; the greatest weight of a frame is 1.
    projections
        Number of projections before the network.
    """
    phase = None
    if start is not None:
        mean = (start * optics.weight).sum((-2, -1), keepdim=True)
        phase = mean / mean.abs().clamp_min(TINY_MODULUS)
        start = start * phase.conj()
    patches, step = _projected(optics, amplitude, start, projections)
    if network is not None:
        corrected, gain = _corrected(network, optics, amplitude, patches, step, start=start, support=support)
        patches = optics.with_lit(patches, corrected)
        update = optics.lit(optics.project(patches, amplitude).update)
        patches = optics.with_lit(patches, corrected + gain * update)
    return patches if phase is None else patches * phase


def _projected(optics: ProbeOptics, amplitude: Tensor, start: Tensor | None, projections: int) -> tuple[Tensor, Step]:
    """Return the patches after the projections, and the last step; the start is 1 unless given."""
    if start is None:
        step = optics.first(amplitude)
        patches = 1 + step.update
    else:
        step = optics.project(start, amplitude)
        patches = start + step.update
    for _ in range(projections - 1):
        step = optics.project(patches, amplitude)
        patches = patches + step.update
    return patches, step


def _corrected(
    network: nn.Module,
    optics: ProbeOptics,
    amplitude: Tensor,
    patches: Tensor,
    step: Step,
    *,
    start: Tensor | None,
    support: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return the corrected lit squares ``(G, M, s, s)`` complex and the gain of the last projection, 0 to 1."""
    weight = optics.lit(optics.weight)
    trust = weight / (weight + DIM_WEIGHT)
    lifted = (optics.lit(patches) - 1) * trust
    scale = ((lifted.abs().square() * weight).sum((-2, -1)) / weight.sum((-2, -1))).sqrt().clamp(*SCALES)
    unit = scale[..., None, None]
    fields = [lifted / unit, optics.lit(step.update) * trust / unit]
    if start is None or support is None:
        fields.append(torch.zeros_like(lifted))
        known = torch.zeros_like(unit).expand(lifted.shape)
    else:
        around = optics.lit(support)
        known = around / (around + weight + FEW_WEIGHT)
        fields.append((optics.lit(start) - 1) * known / unit)
    planes = torch.stack([part for f in fields for part in (f.real, f.imag)] + [known], dim=2).flatten(0, 1)
    dose = torch.log10(optics.peak.view(-1, 1) + 1).expand_as(scale) / 4
    numbers = torch.stack(
        (scale.log(), step.misfit.clamp_min(LEAST_MISFIT).log(), optics.counts(amplitude), dose), dim=-1
    )
    dtype = next(network.parameters()).dtype
    inputs = (planes, optics.planes, numbers.flatten(0, 1))
    answer: Tensor = network(
        *(i.to(dtype, memory_format=torch.channels_last) if i.ndim == 4 else i.to(dtype) for i in inputs)
    )
    answer = answer.float().view(*lifted.shape[:2], *answer.shape[1:])
    corrected: Tensor = 1 + lifted * (1 + answer[:, :, 2]) + unit * torch.complex(answer[:, :, 0], answer[:, :, 1])
    return corrected, torch.sigmoid(answer[:, :, 3])


def save_network(network: CorrectionNet, path: Path, **about: Any) -> None:
    """Write weights, architecture and plain facts about them; :func:`load_network` reads them without running code."""
    torch.save({"architecture": network.architecture, "weights": network.state_dict(), **about}, path)


def load_network(path: Path) -> CorrectionNet:
    """Return the network written by :func:`save_network`, ready for inference."""
    found = torch.load(path, weights_only=True, map_location="cpu")
    network = CorrectionNet(**found["architecture"])
    network.load_state_dict(found["weights"])
    network.eval()
    return channels_last(network)


def stitched_start(patches: Tensor, overlap: Overlap, optics: ProbeOptics) -> tuple[Tensor, Tensor]:
    """Return each frame's start and support ``(G, M, N, N)`` from all frames' patches."""
    weight = optics.weight
    merged, total = overlap.stitch(patches, weight)
    return overlap.cut(merged), (overlap.cut(total) - weight).clamp_min(0)
