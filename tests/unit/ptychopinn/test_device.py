"""When a function of tensors is replayed as a graph; the graphs themselves are in ``tests/gpu``."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ptychopinn import device
from ptychopinn.device import MOST_GRAPHS, Replayed, release_memory


class Recorder:
    """Stands in for the device: its graphs count their runs, and answer with ``error`` more than they should."""

    def __init__(self, error: float = 0.0, fault: Exception | None = None) -> None:
        self.made: list[tuple[int, ...]] = []
        self.runs = 0
        self.error, self.fault = error, fault

    def graph(self, function: Callable[..., torch.Tensor], inputs: device.Inputs) -> device.Run:
        if self.fault is not None:
            raise self.fault
        assert inputs[0] is not None
        self.made.append(tuple(inputs[0].shape))

        def run(given: device.Inputs) -> torch.Tensor:
            self.runs += 1
            return function(*given) + self.error

        return run


def double(tensor: torch.Tensor, more: torch.Tensor | None = None) -> torch.Tensor:
    return 2 * tensor if more is None else 2 * tensor + more


@pytest.fixture
def on_device(monkeypatch: pytest.MonkeyPatch) -> Callable[[Recorder], Recorder]:
    def install(recorder: Recorder) -> Recorder:
        monkeypatch.setattr(device, "_has_graphs", lambda tensor: True)
        monkeypatch.setattr(device, "_graph", recorder.graph)
        return recorder

    return install


def test_on_a_cpu_it_is_the_function() -> None:
    replayed = Replayed(double)
    for value in (1.0, 2.0, 3.0):
        assert float(replayed(torch.tensor([value]), None)) == 2 * value
    assert not replayed._graphs


def test_a_graph_is_made_when_shapes_come_again(on_device: Callable[[Recorder], Recorder]) -> None:
    recorder = on_device(Recorder())
    replayed = Replayed(double)
    for size in (3, 5, 3, 3):
        values = torch.arange(float(size))
        assert torch.equal(replayed(values, None), 2 * values)
    assert torch.equal(replayed(torch.ones(3), torch.ones(3)), torch.full((3,), 3.0))  # another function of its inputs
    assert recorder.made == [(3,)]
    assert recorder.runs == 3  # once to compare, twice to answer


def test_so_many_graphs_at_most_until_memory_is_given_back(on_device: Callable[[Recorder], Recorder]) -> None:
    recorder = on_device(Recorder())
    replayed = Replayed(double)
    sizes = range(1, MOST_GRAPHS + 3)
    for size in (*sizes, *sizes):
        replayed(torch.ones(size))
    assert len(recorder.made) == MOST_GRAPHS
    release_memory(torch.device("cuda"))
    assert not replayed._graphs


@pytest.mark.parametrize("recorder", [Recorder(error=0.1), Recorder(fault=RuntimeError("not in a capture"))])
def test_a_graph_that_fails_or_errs_is_not_used(
    recorder: Recorder, on_device: Callable[[Recorder], Recorder], caplog: pytest.LogCaptureFixture
) -> None:
    on_device(recorder)
    replayed = Replayed(double)
    for _ in range(4):
        assert torch.equal(replayed(torch.ones(2)), torch.full((2,), 2.0))
    assert len(caplog.messages) == 1
    assert "no CUDA graph is used" in caplog.text


def test_memory_that_runs_out_is_told_on(on_device: Callable[[Recorder], Recorder]) -> None:
    on_device(Recorder(fault=torch.OutOfMemoryError("CUDA out of memory")))
    replayed = Replayed(double)
    replayed(torch.ones(2))
    with pytest.raises(torch.OutOfMemoryError):
        replayed(torch.ones(2))
