"""Training of the ``lift`` network on simulated neighbourhoods.

A step takes G scans, M neighbouring frames of each, all of one N and one number of modes. Frames are looked at one to
three times, each further look starting from the neighbourhood stitched so far; the last look is trained, the earlier
ones make its start without gradients (each look answers for itself; a step costs the same however many come before).

Loss of a scan, with w = |P|^2, O the predicted patches, T the true ones, S the patches cut from the stitched O:

* supervised: rms of O e^{-i phi} - T under w, **one** phi for the scan, so patches must agree;
* physics: rms of |F(P S)| - a over the rms of a, valid pixels, so the misfit sees the overlap;
* agreement: rms of O - S under w.

The first and last are divided by the rms of T's contrast and of what the lift sees (contrast and noise) together, so weak
samples count like strong ones and hopelessly noisy scans do not drown the rest.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ptychopinn.model.network import CorrectionNet, channels_last, load_network, look, save_network, stitched_start
from ptychopinn.simulate import simulate_scan
from ptychopinn.training.heldout import heldout_recipes, score_scan, summary
from ptychopinn.training.simulated_batches import Batch, BatchSettings, Source


@dataclass(frozen=True, slots=True)
class Settings:
    """Training settings.

    ``minutes`` or ``steps``: how long; with ``minutes`` the rate falls with the clock, with ``steps`` (not 0) the run
    is repeatable. ``looks`` shares of training the first, second, third look; ``physics``, ``agreement`` weights of
    the losses; ``contrast_floor`` contrast below which a scan counts less; ``average`` decay of the averaged weights;
    ``start`` a network.pt to begin with.
    """

    minutes: float = 90.0
    steps: int = 0
    seed: int = 1
    rate: float = 1.5e-3
    warmup_steps: int = 200
    weight_decay: float = 1e-3
    average: float = 0.999
    clip: float = 1.0
    looks: tuple[float, ...] = (0.45, 0.3, 0.25)
    physics: float = 1.0
    agreement: float = 0.1
    contrast_floor: float = 0.03
    projections: int = 2
    start: str = ""
    log_steps: int = 50
    checkpoint_steps: int = 500
    score_steps: int = 2500
    batches: BatchSettings = field(default_factory=BatchSettings)


def losses(patches: Tensor, batch: Batch, floor: float) -> dict[str, Tensor]:
    """Return the mean over scans of each loss of patches ``(G, M, N, N)``."""
    optics = batch.optics
    weight = optics.lit(optics.weight)
    norm = weight.sum((-2, -1), keepdim=True) * batch.truth.shape[1]
    share = weight / norm
    lit = optics.lit(patches)

    def rms(wave: Tensor) -> Tensor:
        return ((wave.real.square() + wave.imag.square()) * share).sum((1, 2, 3)).clamp_min(1e-10).sqrt()

    def over_scan(wave: Tensor) -> Tensor:
        return (wave * share).sum((1, 2, 3), keepdim=True)

    with torch.no_grad():
        contrast = rms(batch.truth - over_scan(batch.truth))
        seen = rms(optics.lit(optics.first(batch.amplitude).update))
        unit = (contrast.square() + seen.square() + floor**2).sqrt() / 2**0.5
        turn = over_scan(lit * batch.truth.conj())
        turn = turn / turn.abs().clamp_min(1e-12)
    supervised = rms(lit * turn.conj() - batch.truth) / unit
    cut = batch.overlap.cut(batch.overlap.stitch(patches, optics.weight)[0])
    agreement = rms(lit - optics.lit(cut)) / unit
    valid = batch.amplitude >= 0
    misfit = torch.where(valid, optics.magnitude(cut) - batch.amplitude, 0.0).square().sum((1, 2, 3))
    whole = torch.where(valid, batch.amplitude, 0.0).square().sum((1, 2, 3)).clamp_min(1.0)
    physics = (misfit / whole).clamp_min(1e-8).sqrt()
    return {"supervised": supervised.mean(), "physics": physics.mean(), "agreement": agreement.mean()}


class Learner:
    """Network, optimiser and running average of the weights."""

    def __init__(self, network: CorrectionNet, settings: Settings) -> None:
        self.network = channels_last(network)
        self.settings = settings
        self.step = 0
        self._optimiser = torch.optim.AdamW(
            network.parameters(), lr=settings.rate, weight_decay=settings.weight_decay, betas=(0.9, 0.98)
        )
        self._average = {k: v.clone() for k, v in network.state_dict().items()}

    def averaged(self) -> CorrectionNet:
        """Return a copy of the network with the averaged weights."""
        copy = CorrectionNet(**self.network.architecture)
        copy.load_state_dict(self._average)
        copy.eval()
        return channels_last(copy)

    def learn(self, batch: Batch, progress: float, workers: int = 1) -> dict[str, float]:
        """Take one step at ``progress`` (0 to 1) of the training; returns the losses and the look that was trained."""
        s = self.settings
        rng = np.random.default_rng((s.seed, self.step))
        looks = 1 + int(rng.choice(len(s.looks), p=s.looks))
        parts = losses(self._look(batch, looks), batch, s.contrast_floor)
        total = parts["supervised"] + s.physics * parts["physics"] + s.agreement * parts["agreement"]
        self._optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        if workers > 1:
            _share_gradients(self.network, workers)
        warm = min(1.0, (self.step + 1) / s.warmup_steps)
        for group in self._optimiser.param_groups:
            group["lr"] = s.rate * warm * (0.01 + 0.495 * (1 + math.cos(math.pi * min(1.0, progress))))
        self.step += 1
        if not torch.isfinite(nn.utils.clip_grad_norm_(self.network.parameters(), s.clip)):
            return {}  # one such step would spoil the weights for good
        self._optimiser.step()
        keep = min(s.average, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self._average[name].lerp_(value, 1 - keep)
        return {"loss": float(total.detach()), "look": looks, **{k: float(v.detach()) for k, v in parts.items()}}

    def _look(self, batch: Batch, looks: int) -> Tensor:
        """Return the patches of the last of several looks, the only one with gradients."""
        start: Tensor | None = None
        support: Tensor | None = None
        with torch.no_grad():
            for _ in range(looks - 1):
                seen = look(self.network, batch.optics, batch.amplitude, start, support, self.settings.projections)
                start, support = stitched_start(seen, batch.overlap, batch.optics)
        return look(self.network, batch.optics, batch.amplitude, start, support, self.settings.projections)

    def state(self) -> dict[str, Any]:
        """Return everything that :meth:`restore` needs."""
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self._average,
            "optimiser": self._optimiser.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state`."""
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._average = dict(state["average"])


def _share_gradients(network: nn.Module, workers: int) -> None:
    """Replace each worker's gradients by their mean over the workers."""
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    torch.distributed.all_reduce(flat)
    for gradient, mean in zip(gradients, torch.split(flat / workers, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


class Run:
    """One worker of a training run that lives in a folder; worker 0 writes the files.

    Files: ``log.jsonl`` (one JSON object a line: losses, or held-out scores), ``checkpoint.pt`` (to go on from), and
    ``network.pt`` (the averaged weights, see :func:`ptychopinn.model.network.save_network`).
    """

    def __init__(self, rank: int, workers: int, settings: Settings, folder: Path) -> None:
        self._rank, self._workers, self._settings, self._folder = rank, workers, settings, folder
        torch.manual_seed(settings.seed)
        self._learner = Learner(CorrectionNet(), settings)
        self._before_s = 0.0
        self._patches = self._skipped = 0
        if settings.start:
            weights = load_network(Path(settings.start)).state_dict()
            self._learner = Learner(_with(CorrectionNet(), weights), settings)
        if (folder / "checkpoint.pt").exists():
            saved = torch.load(folder / "checkpoint.pt", weights_only=True)
            self._learner.restore(saved["learner"])
            self._before_s, self._patches = saved["elapsed_s"], saved["patches"]
        self._began = time.monotonic()
        self._source = Source(settings.batches, settings.seed, rank, self._learner.step)

    def elapsed_s(self) -> float:
        """Return the seconds trained, over all sittings."""
        return self._before_s + time.monotonic() - self._began

    def _progress(self) -> float:
        s = self._settings
        share = self._learner.step / s.steps if s.steps else self.elapsed_s() / (60 * s.minutes)
        if self._workers > 1 and not s.steps:
            common = torch.tensor([share], dtype=torch.float64)
            torch.distributed.broadcast(common, 0)
            share = float(common)
        return share

    def train(self) -> None:
        """Train to the end of the settings; log, keep checkpoints and score on the way."""
        s = self._settings
        recent: list[dict[str, float]] = []
        while (progress := self._progress()) < 1:
            batch = self._source.batch(self._learner.step)
            learnt = self._learner.learn(batch, progress, self._workers)
            self._skipped += not learnt
            recent += [learnt] if learnt else []
            self._patches += self._workers * batch.amplitude.shape[0] * batch.amplitude.shape[1]
            step = self._learner.step
            if step % s.log_steps == 0:
                self._log({"progress": progress, "skipped": self._skipped, **_mean(recent)})
                recent = []
            if step % s.checkpoint_steps == 0:
                self._save()
            if step % s.score_steps == 0:
                self.score()
        self._save()
        self.score()

    def score(self) -> None:
        """Score the averaged weights on held-out scans, shared among the workers, and log them."""
        recipes = heldout_recipes()
        mine = range(self._rank, len(recipes), self._workers)
        network = self._learner.averaged()
        found = {i: score_scan(network, simulate_scan(recipes[i]), looks=2) for i in mine}
        gathered: list[Any] = [found]
        if self._workers > 1:
            gathered = [None] * self._workers
            torch.distributed.all_gather_object(gathered, found)
        scores = {i: s for part in gathered for i, s in part.items()}
        self._log({"heldout": summary(recipes, [scores[i] for i in range(len(recipes))])})

    def _log(self, line: dict[str, Any]) -> None:
        if self._rank:
            return
        elapsed = self.elapsed_s()
        head = {"step": self._learner.step, "minutes": round(elapsed / 60, 2), "patches": self._patches}
        with (self._folder / "log.jsonl").open("a") as file:
            file.write(json.dumps({**head, **line}) + "\n")

    def _save(self) -> None:
        if self._rank:
            return
        state = {"learner": self._learner.state(), "elapsed_s": self.elapsed_s(), "patches": self._patches}
        new = self._folder / "checkpoint.pt.new"
        torch.save(state, new)
        new.replace(self._folder / "checkpoint.pt")
        about = {"steps": self._learner.step, "patches": self._patches, "minutes": self.elapsed_s() / 60}
        new = self._folder / "network.pt.new"
        save_network(self._learner.averaged(), new, training={**about, "settings": asdict(self._settings)})
        new.replace(self._folder / "network.pt")


def _mean(lines: list[dict[str, float]]) -> dict[str, Any]:
    if not lines:
        return {}
    out: dict[str, Any] = {k: round(sum(x[k] for x in lines) / len(lines), 5) for k in lines[0] if k != "look"}
    for number in sorted({int(x["look"]) for x in lines}):
        of_look = [x["supervised"] for x in lines if x["look"] == number]
        out[f"supervised_look{number}"] = round(sum(of_look) / len(of_look), 5)
    return out


def _with(network: CorrectionNet, weights: dict[str, Tensor]) -> CorrectionNet:
    network.load_state_dict(weights)
    return network


def run_worker(rank: int, workers: int, settings: Settings, folder: Path) -> None:
    """Run one of ``workers`` processes that train together on this machine, one thread each."""
    torch.set_num_threads(1)
    if workers > 1:
        meeting = f"file://{folder.resolve() / 'rendezvous'}"
        torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=workers)
    Run(rank, workers, settings, folder).train()
    if workers > 1:
        torch.distributed.destroy_process_group()
