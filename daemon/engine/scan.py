"""The engine's side of one scan: groups, both layers, a fair sample of its frames."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from daemon.engine.examination import Examination
from daemon.engine.frame_places import FramePlaces, Place
from daemon.engine.halo import Halo
from daemon.engine.models import ActiveModel
from daemon.engine.monitor_lights import MonitorLights
from daemon.engine.options import EngineOptions
from daemon.engine.position_search import PositionSearch
from daemon.engine.refined_starts import RefinedStarts
from daemon.engine.resolution import ScanResolution
from daemon.engine.sample import FrameSample
from daemon.engine.scores import ScanScores
from daemon.publish.snapshot import LayerName
from ptychopinn.frame_store import FrameStore, StoredPattern
from ptychopinn.mosaic.canvas import Box
from ptychopinn.mosaic.groups import GroupBuilder, GroupFrame
from ptychopinn.mosaic.mosaic import Mosaic
from ptychopinn.mosaic.second_look import SecondLooks
from ptychopinn.refine.frame_buffer import Start
from ptychopinn.refine.probe_modes import with_mode_count
from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.tensor_dict import TensorDict
from streams.refusal_reasons import RefusalReason

log = logging.getLogger(__name__)

COVERED = 0.05
"""A pixel counts as covered above this share of the greatest weight."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameToRestitch:
    """A stitched frame that is to be stitched again; its pattern ``(N, N)`` where it is in memory."""

    index: int
    position_px: tuple[float, float]
    amplitude: torch.Tensor | None


class ScanWork:
    """The engine's side of one scan; used by the engine's thread alone."""

    def __init__(self, scan_id: str, model: ActiveModel, options: EngineOptions, *, looks_again: bool) -> None:
        self.scan_id = scan_id
        self.examination = Examination(scan_id)
        self.search = PositionSearch(scan_id)
        self.model = model
        self.made_by = model.identity
        self._options = options
        self._gridsize = options.gridsize
        self._pixel_size_m = options.pixel_size_m
        is_replaced = options.gridsize > 1 or looks_again
        kept_bytes = options.keep_patch_bytes if is_replaced or options.moves_frames else 0
        weight = model.probe.abs().square().sum(0)
        self.mosaic = Mosaic(weight, options.max_side_px, kept_bytes, copies=is_replaced, bound=options.canvas_bound)
        self.groups = GroupBuilder(options.gridsize, model.probe.shape[-1] / 2, model.probe.device)
        needs_halo = options.refine and options.is_halo is not None
        self.halo = Halo(weight, options, self.mosaic) if needs_halo else None
        start = self.mosaic.picture if self.halo is None else self.halo.picture
        self.refiner = _refiner(model.probe, start, options) if options.refine else None
        self.repaint = _repaint(self, model, options.gridsize) if looks_again else None
        _reserve(scan_id, options, self.mosaic, self.refiner)
        self.resolution = ScanResolution(
            update_probe=options.refine_probe, is_subpixel=options.refine_subpixel or options.refine_bound_px > 0
        )
        self.is_resolving = True
        self._store = FrameStore()
        self._sample = FrameSample(self._store)
        self.scores = ScanScores(self._sample, model.probe, self.mosaic, self.refiner)
        self.refused: dict[int, RefusalReason] = {}
        self.to_restitch: deque[FrameToRestitch] = deque()
        self.pixel_ratio = 1.0
        self.waiting_ns: list[int] = []
        self.ended_s: float | None = None
        self.finish_by: float | None = None
        self.next_refined = 0.0
        self.unseen: set[LayerName] = set()
        self._lights = MonitorLights(scan_id, options.light_of)
        self._here: dict[int, tuple[float, float]] = {}
        self.places = FramePlaces()
        self.is_readable = True
        self._is_refining = self.is_examined = True

    @property
    def pixel_size_m(self) -> float | None:
        """The object's pixel as it is corrected; None while the optics are not known."""
        known_m = self._pixel_size_m(self.scan_id)
        return None if known_m is None else known_m * self.pixel_ratio

    def group(self, frames: Sequence[GroupFrame], images: NDArray[np.float32] | None = None) -> list[TensorDict]:
        """Take the frames of a batch, and their amplitudes ``(B, N, N)`` if they are in one array; return their groups."""
        self._here = {frame.index: frame.position_px for frame in frames}
        return self.groups.add(frames, images)

    def lay(self, group: TensorDict, patches: torch.Tensor, *, is_quick: bool = False) -> None:
        """Lay the centres' patches ``(B, N, N)`` of groups; frames that cannot be laid at all go into ``refused``.

        Those that the quick model has laid, and that are known already, are looked at again by the sharp one.
        """
        keys = group["center_scan_id"].tolist()
        where = [self._here.get(key) or self.groups.position_px(key) for key in keys]
        refused = self.mosaic.add(keys, patches, np.array(where, dtype=np.float64))
        self.made_by = self.model.identity
        if is_quick and self.repaint is not None:
            self.repaint.mark_quick(keys)
        if group["images"].shape[1] == 1:  # a larger group takes the place of a patch that is there
            self.refused |= {key: RefusalReason.of(why) for key, why in refused.items()}

    def keep(
        self, frames: Sequence[GroupFrame], amplitude: torch.Tensor, looks: int, *, are_counts: bool = False
    ) -> None:
        """Take stitched frames that had ``looks`` looks, with their amplitudes ``(B, N, N)`` on the device.

        They are stored once, for the sample, the second looks and the refiner; ``are_counts`` as in :class:`FrameStore`.
        """
        is_for_some = self.repaint is None and self.refiner is None
        patterns = None if is_for_some else self._store.put(amplitude, are_counts=are_counts)
        placed = [(frame.index, frame.position_px) for frame in frames]
        self._sample.add(placed, amplitude, patterns, are_counts=are_counts)
        self.places.add([frame.index for frame in frames], [frame.position_px for frame in frames])
        for frame, pattern in zip(frames, patterns or (), strict=patterns is not None):
            if self.repaint is not None:
                self.repaint.add(frame.index, pattern, frame.position_px, looks)
            if self.refiner is not None and (self.halo is None or self.halo.is_new(self.refiner, frame.index)):
                self.refiner.add(frame.index, pattern, frame.position_px, self._lights.get(frame.index))

    def use(self, model: ActiveModel) -> None:
        """Go on with another model for the same probe: every frame is looked at again."""
        self.model = model
        if self.repaint is not None:
            self.repaint.use_model(model.models.look_again, model.models.most_looks(self._gridsize))

    def look_again(self, most: int, *, has_ended: bool) -> None:
        """Give some frames that are due a second look."""
        if self.repaint is not None and self.repaint.step(most, has_ended):
            self.made_by = self.model.identity

    @property
    def search_probe(self) -> torch.Tensor:
        """The probe that positions are looked for with: as it is refined, once the frames lie right."""
        return self.refiner.probe if self.refiner is not None and self.places.are_moved else self.model.probe

    def move(self, places: Mapping[int, Place]) -> bool:
        """Lay frames elsewhere, those whose patches are kept; the refined layer begins again there. False if none is."""
        moved = {index: place for index, place in places.items() if self.mosaic.move(index, place)}
        if not moved:
            return False
        self.groups.move(moved)
        self._sample.move(moved)
        if self.repaint is not None:
            self.repaint.move(moved)
        goes_on = self.places.are_moved
        self.places.move(moved)
        if self.refiner is not None:
            self._begin_refined_again(self.refiner, goes_on=goes_on)
        return True

    def _begin_refined_again(self, old: Refiner, *, goes_on: bool) -> None:
        """Begin the refined layer again: from the network layer, or from what it was if its frames hardly moved."""
        start = _continued(old, self.mosaic) if goes_on else self.mosaic.picture
        self.refiner = _refiner(old.probe if goes_on else self.model.probe, start, self._options)
        _reserve(self.scan_id, self._options, self.refiner)
        used = self.places.used
        for index, pattern in old.patterns():
            self.refiner.add(index, pattern, used[index], self._lights.get(index))
        self.scores.use_refined(self.refiner)
        self.unseen.add("refined")

    @property
    def offsets_px(self) -> Callable[[Sequence[int] | NDArray[np.int64]], NDArray[np.float64]] | None:
        """Gives used minus measured positions ``(n, 2)``: found, or corrected; None if positions stay as measured."""
        refiner, places = self.refiner, self.places
        if refiner is not None and refiner.corrects:
            return lambda indexes: places.moves_px(indexes) + refiner.offsets_px(indexes)
        return places.moves_px if places.are_moved else None

    def stop_moving(self) -> None:
        """Look for no positions any more."""
        self.search.is_over = True

    def drop_second_looks(self) -> None:
        """Free the memory of second looks, a quarter of a GB: there will be none. Larger groups need their patches."""
        if self.repaint is not None and self._gridsize == 1:
            self.mosaic.stop_keeping()
            self.repaint = None

    @property
    def stitched(self) -> int:
        """Number of stitched frames, those included that are to be stitched again."""
        return len(self.places) + len(self.to_restitch)

    @property
    def has_spare_work(self) -> bool:
        """Whether spare time can make the picture better."""
        if self.scores.is_settling:
            return False
        is_repainted = self.repaint is not None and self.repaint.has_work
        return bool(self.to_restitch) or (bool(self.places) and (is_repainted or self.refines))

    @property
    def refines(self) -> bool:
        """Whether the refined layer is worked on."""
        return self.refiner is not None and self._is_refining and not self.refiner.has_given_up

    def stop_refining(self) -> None:
        """Leave the refined layer as it is."""
        self._is_refining = False

    def stop_resolving(self) -> None:
        """Compare halves of the frames no more; what was found stays."""
        self.is_resolving = False

    def stop_looking(self) -> None:
        """Look at no frame again."""
        self.repaint = None

    def stop_examining(self) -> None:
        """Have it examined no more."""
        self.is_examined = False

    def drop_picture(self) -> None:
        """Do without any picture: it cannot be read."""
        self.drop_refined()
        self.is_readable = False

    def drop_refined(self) -> None:
        """Do without the refined layer: it cannot be read."""
        self.refiner = None
        self.scores.drop_refined()

    @property
    def sample(self) -> list[tuple[StoredPattern, Place]]:
        """The fair sample as it is now: stored patterns and positions, all frames while they are few."""
        return self._sample.stored

    def pattern(self, index: int) -> NDArray[np.float32] | None:
        """Return the amplitudes ``(N, N)`` of a frame of the sample, None where it is not in it; safe from any thread."""
        return self._sample.pattern(index)

    def restart(self, old: ScanWork, correct: Callable[[FrameToRestitch], FrameToRestitch]) -> None:
        """Take over the frames of a scan with another probe; all are stitched again, and viewers get a new picture."""
        frames, indexes = old._sample.chosen(range(len(old._sample)))
        kept = dict(zip(indexes, frames, strict=True))
        for index, place in old.places:
            self.to_restitch.append(correct(FrameToRestitch(index, place, kept[index][0] if index in kept else None)))
        self.to_restitch.extend(map(correct, old.to_restitch))
        self.waiting_ns, self.examination = old.waiting_ns, old.examination
        self.ended_s, self.finish_by = old.ended_s, old.finish_by
        self.unseen = {"network", "refined"}

    def settle(self) -> None:
        """Let the refined layer cover every frame, and compute both R-factors over the whole sample."""
        while not self.settle_some():
            pass

    def settle_some(self, *, is_urgent: bool = False) -> bool:
        """Do a slice of :meth:`settle`; return whether it was the last. Between slices the layers must not change."""
        if not self.scores.settle_some(is_urgent=is_urgent):
            return False
        setbacks = 0 if self.refiner is None else self.refiner.setbacks
        if self.scores.is_refined_worse:
            self.drop_refined()
            setbacks = max(1, setbacks)
        self.scores.judge(self.places.used_px, setbacks)
        if self.refiner is not None and self.is_resolving:
            self.resolution.compare()
        return True

    @property
    def is_settling(self) -> bool:
        """Whether :meth:`settle_some` has begun."""
        return self.scores.is_settling

    @property
    def coverage(self) -> float:
        """Share of the rectangle around the picture that is covered; of a mosaic larger than its memory, of the tiles there."""
        return self.mosaic.laid_share if self.mosaic.is_split else covered_share(self.mosaic.read()[1])


def covered_share(weight: torch.Tensor) -> float:
    """Return the share of the rectangle around covered pixels that they cover."""
    if not weight.numel():
        return 0.0
    covered = weight > COVERED * weight.max()
    sides = [int(places[-1] - places[0]) + 1 for d in (0, 1) if len(places := covered.any(d).nonzero())]
    return float(covered.sum()) / math.prod(sides) if sides else 0.0


def _repaint(work: ScanWork, model: ActiveModel, gridsize: int) -> SecondLooks:
    """Return the second looks of a scan; larger groups are built again, with the neighbours that came since."""
    weight = model.probe.abs().square().sum(0)
    return SecondLooks(
        model.models.look_again,
        work.mosaic,
        weight / weight.max(),
        model.models.most_looks(gridsize),
        groups_of=work.groups.again if gridsize > 1 else None,
        better=RefinedStarts(lambda: work.refiner),
    )


def _continued(refined: Refiner, mosaic: Mosaic) -> Start:
    """Return a start that is the refined layer where there is one, and the network layer beyond it."""

    def start(box: Box) -> torch.Tensor:
        picture = mosaic.picture(box)
        whole = Box(*refined.origin_px, *refined.shape)
        both = box.shared(whole)
        value, coverage = refined.read(both.within(whole))
        mine = both.within(box).window
        picture[mine] = torch.where(coverage > COVERED, value, picture[mine])
        return picture

    return start


def _reserve(scan_id: str, options: EngineOptions, *layers: Mosaic | Refiner | None) -> None:
    """Make layers as large as the configured box of positions, so that pictures stay comparable."""
    pixel_m = options.pixel_size_m(scan_id)
    if options.box_m is None or pixel_m is None:
        return
    top, left, bottom, right = (side / pixel_m for side in options.box_m)
    fits = [layer.reserve((top, left), (bottom, right)) for layer in layers if layer is not None]
    if not all(fits):
        log.warning("scan %s: [mosaic] box_m is larger than max_side_px; its pictures grow with the frames", scan_id)


def _refiner(probe: torch.Tensor, start: Start, options: EngineOptions) -> Refiner:
    return Refiner(
        probe if options.refine_modes is None else with_mode_count(probe, options.refine_modes),
        start,
        options.max_side_px,
        options.refine_buffer_bytes,
        update_probe=options.refine_probe,
        finds_light=options.refine_frame_light,
        has_monitor=options.light_of is not None,
        exposure_share=options.refine_exposure_share,
        finds_modes=options.refine_finds_modes,
        follows_drift=options.refine_follows_drift,
        is_subpixel=options.refine_subpixel,
        position_bound_px=options.refine_bound_px,
        bound=options.canvas_bound,
    )
