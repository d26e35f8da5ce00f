"""What the engine holds of one scan: groups, the two layers, a sample of frames for the R-factor."""

from __future__ import annotations

import math
import time
from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict

from daemon.engine.examination import Examination
from daemon.engine.models import ActiveModel, ModelIdentity
from daemon.publish.snapshot import LayerName, LayerUpdate, Region
from ptychopinn.device import to_host
from ptychopinn.diagnosis.figures import LOOKED_AT as FIGURE_FRAMES
from ptychopinn.diagnosis.figures import figures_of
from ptychopinn.diagnosis.plausibility import Figures, Finding, doubts
from ptychopinn.mosaic.canvas import Box
from ptychopinn.mosaic.groups import GroupBuilder, GroupFrame
from ptychopinn.mosaic.mosaic import Mosaic
from ptychopinn.mosaic.second_look import SecondLooks
from ptychopinn.refine.certainty import Certainty
from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.workflow.inference import rfactor_sums
from streams.refusal_reasons import RefusalReason

SAMPLE_FRAMES, SAMPLE_BYTES = 1024, 64 << 20
SETTLED_FRAMES, URGENT_FRAMES = 16, 128
COVERED = 0.05
CERTAINTY_PERIOD_S = 2.0


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What the engine needs to know; sizes in pixels, times in seconds.

    ``pixel_size_m`` gives the object pixel of a scan, which its stream's header may have told; ``None``: not known, and
    the scan's frames are refused.
    """

    pixel_size_m: Callable[[str], float | None]
    batch_frames: int = 32
    batch_timeout_s: float = 0.05
    gridsize: int = 1
    max_side_px: int = 16384
    keep_patch_bytes: int = 256 << 20
    refine: bool = True
    refine_probe: bool = True
    refine_buffer_bytes: int = 512 << 20
    refine_finish_s: float = 1.5
    refine_improve_s: float = 10.0
    refine_subpixel: bool = False
    refine_bound_px: float = 0.0
    publish_period_s: float = 0.1
    checkpoint_s: float = 10.0
    queue_bytes: int = 256 << 20


@dataclass(frozen=True, slots=True, eq=False)
class ScanResult:
    """Both layers for the product: host arrays, origins in object pixels, positions of the stitched frames."""

    scan_id: str
    network: NDArray[np.complex64]
    network_weight: NDArray[np.float32]
    network_origin_px: tuple[int, int]
    refined: NDArray[np.complex64] | None
    refined_weight: NDArray[np.float32] | None
    refined_origin_px: tuple[int, int] | None
    probe: NDArray[np.complex64]
    """The probe of the layer that the product holds: as it was refined, else the model's."""
    model: ModelIdentity
    """The newest model that has predicted a frame of it."""
    indexes: NDArray[np.int64]
    positions_px: NDArray[np.float64]
    rfactors: dict[str, float]
    pixel_ratio: float = 1.0
    """The object's pixel over the one that the optics give."""
    offsets_px: NDArray[np.float64] | None = None
    """By how much the refined layer corrects the positions ``(n, 2)``, if it may."""
    certainty: Certainty | None = None
    """How far the refined layer can be believed."""
    doubts: tuple[Finding, ...] = ()
    """What is doubtful about a scan that is done."""
    left_out: tuple[int, ...] = ()
    """Frames that the refined layer does not use, since their amplitudes cannot be true."""


@dataclass(frozen=True, slots=True, eq=False)
class Again:
    """A stitched frame that is to be laid again; its pattern ``(N, N)`` where it is in memory."""

    index: int
    position_px: tuple[float, float]
    amplitude: torch.Tensor | None


class ScanWork:
    """The engine's side of one scan; used by the engine's thread alone."""

    def __init__(
        self,
        scan_id: str,
        model: ActiveModel,
        options: EngineOptions,
        *,
        looks_again: bool,
    ) -> None:
        self.scan_id = scan_id
        self.model = model
        self._made_by = model.identity
        self._probe = probe = model.probe
        self._gridsize = options.gridsize
        self._pixel_size_m = options.pixel_size_m
        n = probe.shape[-1]
        is_kept = options.gridsize > 1 or looks_again
        weight = probe.abs().square().sum(0)
        self.mosaic = Mosaic(weight, options.max_side_px, options.keep_patch_bytes if is_kept else 0)
        self._may_give_way = options.gridsize == 1  # larger groups take the place of kept patches
        self.groups = GroupBuilder(options.gridsize, n / 2, probe.device)
        groups_of = self.groups.again if options.gridsize > 1 else None
        look_again, most_looks = model.models.look_again, model.models.most_looks(options.gridsize)
        self.repaint = (
            SecondLooks(look_again, self.mosaic, weight / weight.max(), most_looks, groups_of) if looks_again else None
        )
        self.refiner = (
            Refiner(
                probe,
                self.mosaic.picture,
                options.max_side_px,
                options.refine_buffer_bytes,
                update_probe=options.refine_probe,
                is_subpixel=options.refine_subpixel,
                position_bound_px=options.refine_bound_px,
            )
            if options.refine
            else None
        )
        self.refused: dict[int, RefusalReason] = {}
        self.again: deque[Again] = deque()
        self.examination = Examination(scan_id)
        self.pixel_ratio = 1.0
        self._unseen: set[LayerName] = set()
        self.waiting_ns: list[int] = []
        self.rfactors: dict[str, float] = {}
        self.certainty: Certainty | None = None
        self.doubts: tuple[Finding, ...] = ()
        self._next_certainty = 0.0
        self.finish_by: float | None = None
        self.next_refined = 0.0
        self._here: dict[int, tuple[float, float]] = {}
        self._indexes, self._positions_px = array("q"), array("d")
        self._sample: list[tuple[torch.Tensor, tuple[float, float]]] = []
        self._sampled: list[int] = []
        self._to_settle: list[int] = []
        self._sums: dict[str, tuple[float, float]] = {}
        self._random = np.random.default_rng(0)
        self._is_refining = self._is_examined = self._is_readable = True

    @property
    def pixel_size_m(self) -> float | None:
        """The object's pixel as it is corrected; None while the optics are not known."""
        known_m = self._pixel_size_m(self.scan_id)
        return None if known_m is None else known_m * self.pixel_ratio

    def group(self, frames: Sequence[GroupFrame]) -> list[TensorDict]:
        """Take the frames of a batch; return their groups."""
        self._here = {frame.index: frame.position_px for frame in frames}
        return self.groups.add(frames)

    def lay(self, group: TensorDict, patches: torch.Tensor, *, is_quick: bool = False) -> None:
        """Lay the centres' patches ``(B, N, N)`` of groups; frames that cannot be laid at all go into ``refused``.

        Those that the quick model has laid, and that are known already, are looked at again by the sharp one.
        """
        keys = group["center_scan_id"].tolist()
        where = [self._here.get(key) or self.groups.position_px(key) for key in keys]
        refused = self.mosaic.add(keys, patches, np.array(where, dtype=np.float64))
        self._made_by = self.model.identity
        if is_quick and self.repaint is not None:
            self.repaint.mark_quick(keys)
        if group["images"].shape[1] == 1:  # a larger group takes the place of a patch that is there
            self.refused |= {key: RefusalReason.of(why) for key, why in refused.items()}

    def keep(self, frame: GroupFrame, amplitude: torch.Tensor, looks: int) -> None:
        """Take a stitched frame, ``looks`` times looked at, into the fair sample; give it to repaint and refiner."""
        self._indexes.append(frame.index)
        self._positions_px.extend(frame.position_px)
        most = max(8, min(SAMPLE_FRAMES, SAMPLE_BYTES // amplitude.nbytes))
        if len(self._sample) < most:
            self._sample.append((amplitude.clone(), frame.position_px))
            self._sampled.append(frame.index)
        elif self._random.random() < most / len(self._indexes):
            place = self._random.integers(most)
            self._sample[place], self._sampled[place] = (amplitude.clone(), frame.position_px), frame.index
        if self.repaint is not None:
            self.repaint.add(frame.index, amplitude, frame.position_px, looks)
        if self.refiner is not None:
            self.refiner.add(frame.index, amplitude, frame.position_px)

    def use(self, model: ActiveModel) -> None:
        """Go on with another model for the same probe: every frame is looked at again."""
        self.model = model
        if self.repaint is not None:
            self.repaint.use_model(model.models.look_again, model.models.most_looks(self._gridsize))

    def look_again(self, most: int, *, has_ended: bool) -> None:
        """Give some frames that are due a second look."""
        if self.repaint is not None and self.repaint.step(most, has_ended):
            self._made_by = self.model.identity

    @property
    def patch_bytes(self) -> int:
        """Memory of the patches that can be replaced."""
        return self.mosaic.kept_bytes

    @property
    def pattern_bytes(self) -> int:
        """Memory of the refined layer's patterns."""
        return 0 if self.refiner is None else self.refiner.kept_bytes

    def give_back(self, patch_bytes: int, pattern_bytes: int) -> None:
        """Free so much memory of the oldest frames, as far as there is that much."""
        if patch_bytes > 0:
            self.mosaic.release_patches(patch_bytes)
            if self.repaint is not None:
                self.repaint.drop_released()
        if pattern_bytes > 0 and self.refiner is not None:
            self.refiner.give_back(pattern_bytes)

    def give_way(self) -> None:
        """Give back what second looks need, a quarter of a GB: there will be none."""
        if self.repaint is not None and self._may_give_way:
            self.mosaic.stop_keeping()
            self.repaint = None

    @property
    def stitched(self) -> int:
        """Frames that have been laid, those among them that are to be laid again."""
        return len(self._indexes) + len(self.again)

    @property
    def has_spare_work(self) -> bool:
        """Whether spare time can make the picture better."""
        if self.is_settling:
            return False
        is_repainted = self.repaint is not None and self.repaint.has_work
        return bool(self.again) or (bool(self._indexes) and (is_repainted or self.refines))

    @property
    def refines(self) -> bool:
        """Whether the refined layer is worked on."""
        return self.refiner is not None and self._is_refining

    def stop_refining(self) -> None:
        """Leave the refined layer as it is."""
        self._is_refining = False

    def stop_looking(self) -> None:
        """Look at no frame again."""
        self.repaint = None

    @property
    def is_examined(self) -> bool:
        """Whether it may be looked at by the examiner."""
        return self._is_examined

    def stop_examining(self) -> None:
        """Have it examined no more."""
        self._is_examined = False

    def drop_picture(self) -> None:
        """Do without any picture: it cannot be read."""
        self.drop_refined()
        self._is_readable = False

    def drop_refined(self) -> None:
        """Do without the refined layer: it cannot be read."""
        self.refiner = self.certainty = None
        self.rfactors.pop("refined", None)

    @property
    def sample(self) -> list[tuple[torch.Tensor, tuple[float, float]]]:
        """The fair sample as it is now: patterns ``(N, N)`` and positions, all frames while they are few."""
        return list(self._sample)

    def begin_again(self, old: ScanWork, correct: Callable[[Again], Again]) -> None:
        """Take over the frames of a work with another probe, to be laid again; viewers get the picture anew."""
        kept = dict(zip(old._sampled, old._sample, strict=True))
        places = zip(old._positions_px[::2], old._positions_px[1::2], strict=True)
        for index, place in zip(old._indexes, places, strict=True):
            self.again.append(correct(Again(index, place, kept[index][0] if index in kept else None)))
        self.again.extend(map(correct, old.again))
        self.waiting_ns, self.finish_by, self.examination = old.waiting_ns, old.finish_by, old.examination
        self._unseen = {"network", "refined"}

    def estimate_rfactors(self) -> None:
        """Bring the running estimates up to date, cheaply."""
        if self.refiner is not None and self.refiner.rfactor is not None:
            self.rfactors["refined"] = self.refiner.rfactor
            now = time.monotonic()
            if now >= self._next_certainty:
                self.certainty = self.refiner.certainty()
                self._next_certainty = now + CERTAINTY_PERIOD_S
        if self._sample:
            chosen = self._random.choice(len(self._sample), size=min(8, len(self._sample)), replace=False).tolist()
            misfit, total = self._rfactor_sums(self.mosaic, [self._sample[i] for i in chosen])
            fresh = misfit / total if total > 0 else math.nan
            if math.isfinite(fresh):
                self.rfactors["network"] = 0.8 * self.rfactors.get("network", fresh) + 0.2 * fresh

    def settle(self) -> None:
        """Let the refined layer cover every frame, and compute both R-factors over the whole sample."""
        while not self.settle_some():
            pass

    def settle_some(self, *, is_urgent: bool = False) -> bool:
        """Do a slice of :meth:`settle`; whether it was the last. Between slices the layers must not be worked on.

        ``is_urgent``: a part of the sample must do, since others' frames come.
        """
        sources: dict[str, Mosaic | Refiner] = {"network": self.mosaic}
        if self.refiner is not None:
            sources["refined"] = self.refiner
        if not self.is_settling:
            self._begin_settling()
        if is_urgent:
            self._to_settle = self._to_settle[:URGENT_FRAMES]
        part, self._to_settle = self._to_settle[:SETTLED_FRAMES], self._to_settle[SETTLED_FRAMES:]
        some, indexes = [self._sample[i] for i in part], [self._sampled[i] for i in part]
        for layer, source in sources.items():
            there = self._corrected(some, indexes) if layer == "refined" else some
            before, parts = self._sums.get(layer, (0.0, 0.0)), self._rfactor_sums(source, there)
            self._sums[layer] = before[0] + parts[0], before[1] + parts[1]
        if self._to_settle:
            return False
        found = {layer: misfit / total for layer, (misfit, total) in self._sums.items() if total > 0}
        self.rfactors |= {layer: rfactor for layer, rfactor in found.items() if math.isfinite(rfactor)}
        self._sums = {}
        if self.refiner is not None:
            self.certainty = self.refiner.certainty()
        self.doubts = tuple(doubts(self._figures()))
        return True

    def _figures(self) -> Figures:
        """Return the figures of the picture as it is."""
        if not self._sample:
            return Figures(frames=0)
        picture, weight = (self.refiner or self.mosaic).read()
        positions_px = np.array(self._positions_px, dtype=np.float64).reshape(-1, 2)
        spread = np.linspace(0, len(self._sample) - 1, min(len(self._sample), FIGURE_FRAMES)).astype(int)
        sample = torch.stack([self._sample[place][0] for place in spread.tolist()])  # of the whole scan, not its start
        rfactor, is_refined = product_rfactor(self.rfactors), "refined" in self.rfactors
        return figures_of(sample, positions_px, self._probe, rfactor, picture, weight, is_refined=is_refined)

    def _begin_settling(self) -> None:
        if self.refiner is not None:
            self.refiner.admit_all()
        self._to_settle = self._random.permutation(len(self._sample)).tolist()

    @property
    def is_settling(self) -> bool:
        """Whether :meth:`settle_some` has begun."""
        return bool(self._to_settle)

    @property
    def coverage(self) -> float:
        """Share of the canvas whose weight is above 5 % of the greatest."""
        weight = self.mosaic.read()[1]
        return float((weight > COVERED * weight.max()).float().mean()) if weight.numel() else 0.0

    def _corrected(
        self, frames: list[tuple[torch.Tensor, tuple[float, float]]], indexes: Sequence[int]
    ) -> list[tuple[torch.Tensor, tuple[float, float]]]:
        """Return frames with the positions that the refined layer gives them."""
        if self.refiner is None or not self.refiner.corrects:
            return frames
        moves = self.refiner.offsets_px(indexes).tolist()
        return [(a, (y + dy, x + dx)) for (a, (y, x)), (dy, dx) in zip(frames, moves, strict=True)]

    def _rfactor_sums(
        self, source: Mosaic | Refiner, frames: Sequence[tuple[torch.Tensor, tuple[float, float]]]
    ) -> tuple[float, float]:
        probe = source.probe if isinstance(source, Refiner) else self._probe
        return rfactor_sums(probe, source, [a for a, _ in frames], [where for _, where in frames])

    def update(
        self,
        layer: LayerName,
        *,
        frames_received: int,
        time_ns: int,
        is_complete: bool,
    ) -> LayerUpdate | None:
        """Return what changed in a layer since the last call, copied to the host; None if nothing did."""
        source = self.mosaic if layer == "network" else self.refiner
        if source is None:
            return None
        boxes = source.take_dirty()
        if not boxes and not is_complete:
            return None
        if layer in self._unseen:  # viewers hold another picture of this scan
            self._unseen.discard(layer)
            boxes = [Box(0, 0, *source.shape)]
        return LayerUpdate(
            scan_id=self.scan_id,
            layer=layer,
            shape=source.shape,
            origin_px=source.origin_px,
            pixel_size_m=self.pixel_size_m,
            frames_stitched=self.stitched,
            frames_received=frames_received,
            model_generation=self._made_by.generation,
            rfactor=self.rfactors.get(layer),
            complete=is_complete,
            regions=tuple(_region(source, box) for box in boxes),
            time_ns=time_ns,
        )

    def path_px(self, after: int, most: int) -> list[tuple[float, float]]:
        """Return positions (y, x) in the order of stitching, from number `after` on; safe from any thread."""
        values = self._positions_px[2 * after : 2 * (after + most)]
        return list(zip(values[::2], values[1::2], strict=False))

    def result(self) -> ScanResult:
        """Return both layers as they are."""
        nothing = np.zeros((0, 0), np.complex64), np.zeros((0, 0), np.float32)
        network, weight = _host(self.mosaic) if self._is_readable else nothing
        refined, refined_weight = (None, None) if self.refiner is None else _host(self.refiner)
        indexes = np.array(self._indexes, dtype=np.int64)
        order = np.argsort(indexes)
        return ScanResult(
            self.scan_id,
            network,
            weight,
            self.mosaic.origin_px,
            refined,
            refined_weight,
            None if self.refiner is None else self.refiner.origin_px,
            np.asarray(to_host(self._probe if self.refiner is None else self.refiner.probe), dtype=np.complex64),
            self._made_by,
            indexes[order],
            np.array(self._positions_px, dtype=np.float64).reshape(-1, 2)[order],
            dict(self.rfactors),
            self.pixel_ratio,
            self.refiner.offsets_px(indexes[order]) if self.refiner is not None and self.refiner.corrects else None,
            self.certainty,
            self.doubts,
            () if self.refiner is None else tuple(sorted(self.refiner.left_out)),
        )


def product_rfactor(rfactors: Mapping[str, float]) -> float | None:
    """Return the R-factor of the layer that a product's object is; None before there is one."""
    return rfactors.get("refined", rfactors.get("network"))


def _host(source: Mosaic | Refiner, box: Box | None = None) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    value, weight = source.read(box)
    pixels, weights = np.asarray(to_host(value), dtype=np.complex64), np.asarray(to_host(weight), dtype=np.float32)
    if not np.isfinite(pixels.sum()):  # a sum tells quickly that none is NaN
        pixels = np.where(np.isfinite(pixels), pixels, 0)
    return pixels, weights


def _region(source: Mosaic | Refiner, box: Box) -> Region:
    value, weight = _host(source, box)
    return Region(*box, object=value, weight=weight)
