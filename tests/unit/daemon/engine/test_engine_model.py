"""The engine owns the model in use: who asks for another is told what became of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from daemon.engine.loop import Engine
from daemon.engine.models import ActiveModel, Models
from daemon.engine.options import EngineOptions
from daemon.engine.ports import EngineEvents
from daemon.metrics import Metrics
from ptychopinn.diagnosis.correction import Correction
from ptychopinn.errors import ReconstructionError
from ptychopinn.model import Lift
from ptychopinn.simulate import Recipe, simulate_scan


def model_for(probe: torch.Tensor) -> ActiveModel:
    return ActiveModel(None, Models(Lift(probe, projections=1), None), probe)


@pytest.fixture
def first() -> ActiveModel:
    return model_for(simulate_scan(Recipe(size_px=64, frames=2, seed=1)).probe)


@pytest.fixture
def engine(first: ActiveModel) -> Engine:
    def ignore(*_: object) -> None: ...

    events = EngineEvents(ignore, ignore, ignore, ignore, ignore, frames_received=lambda _: 0)
    return Engine(first, EngineOptions(lambda _: 1e-8), Metrics(), events)


def test_a_swap_is_told_with_its_generation_and_corrects_only_with_another_probe(
    engine: Engine, first: ActiveModel
) -> None:
    change = Correction(position_scale=1.25)
    engine.start()
    try:
        engine.wait_until_warm()
        same = engine.use(replace(first), change)
        assert engine.active is same
        assert same.generation == 1
        assert engine.correction == Correction()
        other = engine.use(model_for(2 * first.probe), change)
        assert engine.active is other
        assert other.generation == 2
        assert engine.correction.position_scale == 1.25
    finally:
        engine.stop()


def test_who_waits_for_a_swap_is_told_when_the_engine_ends(engine: Engine, first: ActiveModel) -> None:
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(engine.use, first)
        engine.stop()
        with pytest.raises(ReconstructionError, match="the model lift is not used: the daemon stops"):
            asked.result()
    assert engine.active is first


def test_a_model_to_begin_with_is_the_first_generation(engine: Engine, first: ActiveModel) -> None:
    engine.begin_with(first)
    assert engine.active.generation == 1
    assert engine.active.probe is first.probe
