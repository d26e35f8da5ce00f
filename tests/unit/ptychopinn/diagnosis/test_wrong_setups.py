"""Wrong set-ups of a scan: no reconstruction diverges or hangs, every number is finite, and the fault is said."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from ptychopinn.diagnosis import order_test
from ptychopinn.diagnosis.figures import figures_of
from ptychopinn.diagnosis.file_check import misfit_sentence
from ptychopinn.diagnosis.plausibility import Doubt, doubts
from ptychopinn.errors import ReconstructionError
from ptychopinn.refine import moving_probe
from ptychopinn.refine.refined_layer import CHUNK_FRAMES, Refiner
from ptychopinn.refine.retrieve import retrieve
from tests.support.wrong_setups import FRAMES, SETUPS, Scan, right

PASSES, SWEEPS = 6, 2
WORST_RFACTOR = 5.0
"""R of a refinement that has not diverged: an empty object through a probe that is far too bright has 2 to 3."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a reconstruction says: its doubts, the sentence of its refusal, the number of frames left out."""

    doubts: frozenset[Doubt] = frozenset()
    refusal: str = ""
    left_out: int = 0

    @property
    def is_something(self) -> bool:
        return bool(self.doubts or self.refusal or self.left_out)


def refined(scan: Scan) -> Told:
    """Refine some passes, with the probe."""
    try:
        refiner = Refiner(scan.probe, update_probe=True)
        for index, (pattern, (y, x)) in enumerate(zip(scan.amplitude, scan.positions_px.tolist(), strict=True)):
            refiner.add(index, pattern, (y, x))
        for _ in range(PASSES * -(-FRAMES // CHUNK_FRAMES)):
            refiner.step()
    except ReconstructionError as refusal:
        return Told(refusal=str(refusal))
    picture, weight = refiner.read()
    assert torch.isfinite(picture.abs()).all()
    assert torch.isfinite(refiner.probe.abs()).all()
    assert refiner.rfactor is None or refiner.rfactor < WORST_RFACTOR
    certainty = refiner.certainty()
    assert certainty is None or math.isfinite(certainty.expected_correlation)
    figures = figures_of(
        scan.amplitude, scan.positions_px, scan.probe, refiner.rfactor, picture, weight, is_refined=True
    )
    found = doubts(replace(figures, setbacks=refiner.setbacks))
    assert not any(re.search(r"\b(nan|inf)\b", one.sentence) for one in found)
    return Told(frozenset(one.doubt for one in found), left_out=len(refiner.left_out))


def retrieved(scan: Scan) -> Told:
    """Retrieve probe and object by a few sweeps."""
    try:
        found = retrieve(scan.amplitude, scan.positions_px, scan.probe, sweeps=SWEEPS)
    except ReconstructionError as refusal:
        return Told(refusal=str(refusal))
    assert np.isfinite(found.rfactors).all()
    assert torch.isfinite(found.object.abs()).all()
    assert torch.isfinite(found.probe.abs()).all()
    return Told(left_out=len(found.left_out))


NOT_SEEN_BY_FIGURES = {
    "probe conjugate",
    "probe transposed",
    "probe mirrored",
    "probe moved by a quarter",
    "probe of one pixel",
    "probe out of focus",
    "patterns transposed",
    "patterns mirrored",
    "patterns turned by 90 degrees",
    "energy off by 20 %",
    "energy off by half",
    "positions transposed",
    "positions shuffled",
}
"""Set-ups in which so small a picture fits nearly as well: the diagnosis tries orientation, scale, order and probe. A moved
probe only moves the picture."""
SAID = {
    "positions shuffled": order_test.SENTENCE,
    "probe of one pixel": "fewer than 16 of 64 frames overlap within the light of the probe",
}
"""What ``predict`` and ``refine`` say of some of them; those with other turns: ``test_fit_test``."""


@pytest.mark.parametrize("name", SAID)
def test_the_verbs_say_what_figures_do_not_show(name: str):
    scan = SETUPS[name](right())
    assert SAID[name] in (misfit_sentence(scan.amplitude, scan.positions_px, scan.probe) or "")


def test_the_right_set_up_is_not_doubted(monkeypatch: pytest.MonkeyPatch):
    assert misfit_sentence(right().amplitude, right().positions_px, right().probe) is None
    monkeypatch.setattr(moving_probe, "PROBE_FRAMES", 10)
    assert not refined(right()).is_something
    assert not retrieved(right()).is_something


@pytest.mark.parametrize("name", SETUPS)
def test_a_wrong_set_up_neither_diverges_nor_hangs_and_is_said(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(moving_probe, "PROBE_FRAMES", 10)
    scan = SETUPS[name](right())
    told = [refined(scan), retrieved(scan)]
    for one in told:
        assert "\n" not in one.refusal
    assert name in NOT_SEEN_BY_FIGURES or any(one.is_something for one in told)
