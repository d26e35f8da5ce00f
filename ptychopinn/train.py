"""Training of the ``lift`` network on simulated neighbourhoods.

A step takes G scans, M neighbouring frames of each, all of one N and one number of modes. Frames are looked at one to
three times, each further look starting from the neighbourhood stitched so far; the last look is trained, the earlier
ones make its start without gradients (each look answers for itself; a step costs the same however many come before).

Loss of a scan, with w = |P|^2, O the predicted patches, T the true ones, S the patches cut from the stitched O:

* supervised: rms of O e^{-i phi} - T under w over the rms contrast of T, **one** phi for the scan: patches must agree;
* physics: rms of |F(P S)| - a over the rms of a, valid pixels, so the misfit sees the overlap;
* agreement: rms of O - S under w over the contrast.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from ptychopinn.heldout import training_kinds
from ptychopinn.model.network import CorrectionNet, look, stitched_start
from ptychopinn.model.optics import Optics, lit_side_px
from ptychopinn.model.overlap import Overlap
from ptychopinn.simulate import SimulatedScan, TextureBank, draw_neighbourhood, draw_recipe


@dataclass(frozen=True, slots=True)
class Settings:
    """Training settings.

    ``steps`` in all; ``lit_pixels`` lit pixels of a step (G x M x side^2, about); ``large_share`` of the steps are
    128 px, the rest 64 px; ``looks`` weights of training the first, second, third look; ``physics``, ``agreement``
    weights of the losses; ``contrast_floor`` contrast below which a scan counts less.
    """

    steps: int = 10000
    seed: int = 1
    rate: float = 1.5e-3
    warmup_steps: int = 200
    weight_decay: float = 1e-3
    average: float = 0.999
    clip: float = 1.0
    lit_pixels: int = 220_000
    frames: int = 12
    large_share: float = 0.3
    looks: tuple[float, ...] = (0.5, 0.3, 0.2)
    physics: float = 0.2
    agreement: float = 0.1
    contrast_floor: float = 0.03
    projections: int = 2
    bank_textures: int = 256
    bank_side_px: int = 320


@dataclass(frozen=True, slots=True)
class Batch:
    """G neighbourhoods of M frames; amplitudes and truth with patches as leading axes ``(G, M, ...)``."""

    amplitude: Tensor
    truth: Tensor
    optics: Optics
    overlap: Overlap


class Source:
    """Batches of simulated neighbourhoods; batch k of a seed and rank is always the same apart from the texture bank."""

    def __init__(self, settings: Settings, rank: int = 0, begin: int = 0) -> None:
        self._settings = settings
        self._rank = rank
        self._probe_kinds, textures = training_kinds()
        self._bank = TextureBank(settings.bank_side_px, settings.bank_textures, textures, (settings.seed, rank, begin))

    def batch(self, step: int) -> Batch:
        """Return the batch of a step."""
        s = self._settings
        rng = np.random.default_rng((s.seed, self._rank, step))
        size = 128 if rng.random() < s.large_share else 64
        modes = int(rng.choice((1, 2, 3), p=(0.75, 0.15, 0.1)))
        ratio = float(rng.uniform(0.15, 0.6))
        scans: list[SimulatedScan] = []
        side = 16
        while not scans or (len(scans) + 1) * s.frames * side**2 <= s.lit_pixels:
            drawn = draw_recipe(size, rng, probe_kinds=self._probe_kinds, textures=["bank"], modes=modes)
            near = min(0.6, max(0.15, ratio * float(rng.uniform(0.85, 1.15))))
            scan = draw_neighbourhood(replace(drawn, frames=s.frames, footprint_ratio=near), self._bank)
            scans.append(scan)
            side = max(side, lit_side_px(scan.probe.abs().square().sum(0)))
            if len(scans) >= 16:
                break
        self._bank.renew(1)
        return collate(scans)


def collate(scans: list[SimulatedScan]) -> Batch:
    """Return scans of one N, one number of modes and of frames as a batch."""
    n = scans[0].recipe.size_px
    optics = Optics(torch.stack([s.probe for s in scans]))
    corners = torch.stack([torch.from_numpy(s.corners_px - s.corners_px.min(axis=0)) for s in scans])
    truth = torch.stack(
        [
            torch.stack([optics.lit(s.object[y : y + n, x : x + n]) for y, x in s.true_corners_px.tolist()])
            for s in scans
        ]
    )
    amplitude = torch.fft.ifftshift(torch.stack([s.amplitude for s in scans]), dim=(-2, -1))
    return Batch(amplitude, truth, optics, Overlap(corners, n))


def losses(patches: Tensor, batch: Batch, floor: float) -> dict[str, Tensor]:
    """Return the mean over scans of each loss of patches ``(G, M, N, N)``."""
    optics = batch.optics
    weight = optics.lit(optics.weight)
    norm = weight.sum((-2, -1), keepdim=True) * batch.truth.shape[1]
    share = weight / norm
    lit = optics.lit(patches)

    def rms(field: Tensor) -> Tensor:
        return ((field.real.square() + field.imag.square()) * share).sum((1, 2, 3)).clamp_min(1e-10).sqrt()

    def over_scan(field: Tensor) -> Tensor:
        return (field * share).sum((1, 2, 3), keepdim=True)

    contrast = (rms(batch.truth - over_scan(batch.truth)).square() + floor**2).sqrt()
    with torch.no_grad():
        turn = over_scan(lit * batch.truth.conj())
        turn = turn / turn.abs().clamp_min(1e-12)
    supervised = rms(lit * turn.conj() - batch.truth) / contrast
    cut = batch.overlap.cut(batch.overlap.stitch(patches, optics.weight)[0])
    agreement = rms(lit - optics.lit(cut)) / contrast
    valid = batch.amplitude >= 0
    misfit = torch.where(valid, optics.magnitude(cut) - batch.amplitude, 0.0).square().sum((1, 2, 3))
    whole = torch.where(valid, batch.amplitude, 0.0).square().sum((1, 2, 3)).clamp_min(1.0)
    physics = (misfit / whole).clamp_min(1e-8).sqrt()
    return {"supervised": supervised.mean(), "physics": physics.mean(), "agreement": agreement.mean()}


class Learner:
    """Network, optimiser and running average of the weights."""

    def __init__(self, network: CorrectionNet, settings: Settings, rank: int = 0) -> None:
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.settings = settings
        self.step = 0
        self._rank = rank
        self._optimiser = torch.optim.AdamW(
            network.parameters(), lr=settings.rate, weight_decay=settings.weight_decay, betas=(0.9, 0.98)
        )
        self._average = {k: v.clone() for k, v in network.state_dict().items()}

    def averaged(self) -> CorrectionNet:
        """Return a copy of the network with the averaged weights."""
        copy = CorrectionNet(**self.network.architecture)
        copy.load_state_dict(self._average)
        return copy.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def learn(self, batch: Batch, merge: Callable[[nn.Module], None] | None = None) -> dict[str, float]:
        """Take one step; ``merge`` averages the gradients over workers. Returns the losses and the look trained."""
        s = self.settings
        rng = np.random.default_rng((s.seed, self._rank, self.step, 1))
        looks = 1 + int(rng.choice(len(s.looks), p=np.array(s.looks) / sum(s.looks)))
        start: Tensor | None = None
        support: Tensor | None = None
        with torch.no_grad():
            for _ in range(looks - 1):
                before = look(self.network, batch.optics, batch.amplitude, start, support, s.projections)
                start, support = stitched_start(before, batch.overlap, batch.optics)
        patches = look(self.network, batch.optics, batch.amplitude, start, support, s.projections)
        parts = losses(patches, batch, s.contrast_floor)
        total = parts["supervised"] + s.physics * parts["physics"] + s.agreement * parts["agreement"]
        self._optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        if merge:
            merge(self.network)
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate()
        nn.utils.clip_grad_norm_(self.network.parameters(), s.clip)
        self._optimiser.step()
        self.step += 1
        keep = min(s.average, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self._average[name].lerp_(value, 1 - keep)
        return {"loss": float(total.detach()), "look": looks, **{k: float(v.detach()) for k, v in parts.items()}}

    def _rate(self) -> float:
        s = self.settings
        warm = min(1.0, (self.step + 1) / s.warmup_steps)
        return s.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, self.step / s.steps))))

    def state(self) -> dict[str, object]:
        """Return everything that :meth:`restore` needs."""
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self._average,
            "optimiser": self._optimiser.state_dict(),
        }

    def restore(self, state: dict[str, object]) -> None:
        """Go on from a :meth:`state`."""
        self.step = int(state["step"])  # type: ignore[call-overload]
        self.network.load_state_dict(state["network"])  # type: ignore[arg-type]
        self._optimiser.load_state_dict(state["optimiser"])  # type: ignore[arg-type]
        self._average = dict(state["average"])  # type: ignore[call-overload]
