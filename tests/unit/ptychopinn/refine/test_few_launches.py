"""What is done for all frames at once on a GPU gives the numbers of one after another."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from daemon.cli.bench.launches import count_launches
from ptychopinn.device import batched
from ptychopinn.refine.slow_phase import SlowPhase
from ptychopinn.refine.subpixel_shifts import ProbeDescent, Shift, ShiftedProbes

SIZE_PX = 16
SHIFTS: list[Shift] = [(0, 0), (3, -4), (0, 0), (2, 1), (3, -4), (-4, 4), (7, 0)]


@pytest.fixture(autouse=True)
def placement() -> None:
    """Both forms are compared here, so no test runs once for each."""


def _field(*shape: int) -> Tensor:
    return torch.randn(
        *shape, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.complex64
    )


def _moved_probes() -> list[Tensor]:
    probes = ShiftedProbes(_field(2))
    return [probes.stack(SHIFTS), probes.back_stack(SHIFTS), probes.intensity_stack(SHIFTS), probes.stack(SHIFTS[1:3])]


def _descent() -> list[Tensor]:
    sums = ProbeDescent()
    sums.add(SHIFTS, _field(len(SHIFTS), 2))
    sums.add(SHIFTS[:1], _field(1, 2))
    return [sums.total()]


def _slow_phase() -> list[Tensor]:
    slow = SlowPhase()
    slow.look(_field(3, 2), torch.rand(3, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(0)) - 0.1)
    return slow._seen


@pytest.mark.parametrize(("work", "most_launches"), [(_moved_probes, 20), (_descent, 25), (_slow_phase, 90)])
def test_frames_at_once_give_the_numbers_of_one_after_another(
    work: Callable[[], list[Tensor]], most_launches: int
) -> None:
    one_by_one = work()
    with batched():
        assert count_launches(work) <= most_launches
        at_once = work()
    for one, other in zip(one_by_one, at_once, strict=True):
        torch.testing.assert_close(other, one, atol=2e-5, rtol=1e-5)
