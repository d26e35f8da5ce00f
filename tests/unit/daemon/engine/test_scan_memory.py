"""Patches and patterns of all open scans share the daemon's bounds."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from daemon.engine.models import ActiveModel, Models
from daemon.engine.options import EngineOptions
from daemon.engine.scan import ScanWork
from daemon.engine.scan_memory import ScanMemory, patch_bytes, pattern_bytes
from daemon.engine.scan_output import scan_result
from ptychopinn.model import Lift
from ptychopinn.mosaic.groups import GroupFrame
from ptychopinn.simulate import Recipe, simulate_scan

N, FRAMES = 64, 12
PATCH, PATTERN = 8 * N * N, 4 * N * N
MADE = simulate_scan(Recipe(size_px=N, frames=FRAMES, seed=1))
OPTIONS = EngineOptions(lambda _: 1e-8, keep_patch_bytes=FRAMES * PATCH, refine_buffer_bytes=FRAMES * PATTERN)


def work_of(scan_id: str) -> ScanWork:
    lift = Lift(MADE.probe, projections=1)
    return ScanWork(scan_id, ActiveModel(None, Models(lift, lift), MADE.probe), OPTIONS, looks_again=True)


def feed(work: ScanWork, frames: range) -> None:
    some = [GroupFrame(i, np.asarray(MADE.amplitude[i]), tuple(MADE.positions_px[i].tolist())) for i in frames]
    for group in work.group(some):
        work.lay(group, work.model.models.quick.predict(group)[:, 0])
    work.keep(some, torch.from_numpy(np.stack([frame.amplitude for frame in some])), looks=1)


def kept(works: list[ScanWork]) -> SimpleNamespace:
    patches, patterns = (
        [patch_bytes(work) // PATCH for work in works],
        [pattern_bytes(work) // PATTERN for work in works],
    )
    return SimpleNamespace(patches=patches, patterns=patterns)


def test_scans_share_the_bounds_and_the_oldest_gives_way() -> None:
    memory, works = ScanMemory(OPTIONS.keep_patch_bytes, OPTIONS.refine_buffer_bytes), [work_of("a"), work_of("b")]
    first, second = works
    feed(first, range(8))
    memory.trim(works)
    assert kept(works) == SimpleNamespace(patches=[8, 0], patterns=[8, 0])
    for begin in range(0, FRAMES, 4):
        feed(second, range(begin, begin + 4))
        memory.trim(works)
        assert max(sum(kept(works).patches), sum(kept(works).patterns)) <= FRAMES
    assert kept(works) == SimpleNamespace(
        patches=[0, FRAMES], patterns=[1, FRAMES - 1]
    )  # a refined layer keeps one frame
    assert first.stitched == 8
    assert scan_result(first).indexes.tolist() == list(range(8))


def test_what_is_given_back_is_of_the_oldest_frames_and_the_picture_stays() -> None:
    work = work_of("a")
    feed(work, range(FRAMES))
    before = work.mosaic.read()[0].clone()
    ScanMemory(4 * PATCH, 6 * PATTERN).trim([work])
    assert kept([work]) == SimpleNamespace(patches=[4], patterns=[6])
    assert [work.mosaic.keeps(i) for i in range(FRAMES)] == [False] * 8 + [True] * 4
    assert torch.equal(work.mosaic.read()[0], before)
    assert work.refiner is not None
    while work.refiner.least_visits < 2:
        assert work.refiner.step() > 0
    assert work.repaint is not None
    assert work.repaint.step(FRAMES, has_ended=True) <= 4
    work.settle()
    assert np.isfinite(work.scores.rfactors["refined"])


def test_a_pattern_is_in_memory_once_and_stays_while_the_sample_has_it() -> None:
    work = work_of("a")
    feed(work, range(FRAMES))
    assert work.refiner is not None
    assert work.repaint is not None
    sampled = [pattern for pattern, _ in work.sample]
    assert [pattern for _, pattern in work.refiner.patterns()] == sampled
    assert [work.repaint._frames[i].pattern for i in range(FRAMES)] == sampled
    ScanMemory(PATCH, PATTERN).trim([work])
    assert len(work.refiner.patterns()) == 1
    for index in range(FRAMES):
        np.testing.assert_array_equal(work.pattern(index), MADE.amplitude[index])
    work.settle()
    assert np.isfinite(work.scores.rfactors["refined"])
