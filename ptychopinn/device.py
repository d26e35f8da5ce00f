"""The one module that knows about devices: choosing one, host copies, pinned staging, CUDA graphs.

Everything else says ``tensor.to(device)`` through these functions and runs unchanged on a CPU.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from weakref import WeakSet

import numpy as np
import torch
from numpy.typing import NDArray

SMALL_BYTES = 1 << 19
"""Arrays of so many bytes stay in a core's cache and in the allocator's heap; larger ones may be mapped, and cleared, anew
each time, which costs more than a projection."""

MOST_AT_ONCE = 256
"""Number of frames of one call on a GPU: enough to occupy it, and bounded in memory."""
MOST_GRAPHS = 4
"""Greatest number of CUDA graphs of one function; each keeps its own buffers in GPU memory."""
GRAPH_ERROR = 1e-4
"""Greatest deviation of a graph from its function, relative to the greatest value: rounding of float32."""

log = logging.getLogger(__name__)


def frames_at_once(frame: torch.Tensor) -> int:
    """Return how many frames like this to work on at once where it is: on a CPU those that make a small array."""
    return MOST_AT_ONCE if frame.device.type == "cuda" else max(1, SMALL_BYTES // frame.nbytes)


def choose_device(name: str) -> torch.device:
    """Return the device for ``name``; ``auto`` takes CUDA where there is one, else the CPU.

    Raises
    ------
    ValueError
        If a CUDA device is named and there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f'device "{name}" was asked for but this machine has no usable CUDA device; use device = "cpu"'
        )
    return device


def to_device(array: NDArray[np.generic], device: torch.device) -> torch.Tensor:
    """Return ``array`` on ``device``; on CUDA through pinned memory and without waiting."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor


def to_host(tensor: torch.Tensor) -> NDArray[np.generic]:
    """Return a host copy of ``tensor`` that later work on the device does not change."""
    if tensor.device.type == "cpu":
        return tensor.detach().clone().numpy()
    return tensor.detach().cpu().numpy()


def memory_bytes(device: torch.device) -> int:
    """Return the bytes that this process holds on ``device``; 0 on a CPU, whose memory the system accounts for."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def release_memory(device: torch.device) -> None:
    """Give back what is cached and not in use on ``device``, and the graphs, after it has run out."""
    if device.type == "cuda":
        for replayed in list(_replayed):
            replayed.forget()
        torch.cuda.empty_cache()


Inputs = tuple[torch.Tensor | None, ...]
Run = Callable[[Inputs], torch.Tensor]


class Replayed:
    """A function of tensors that a CUDA device replays as a graph: one launch where there were a hundred.

    A graph is made when inputs of the same shapes come for the second time, MOST_GRAPHS at most, and is taken only if it
    gives what the function gives. Else, and on other devices, the function itself is called. It must have no state
    beyond constant tensors, and wait for nothing.
    """

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        self._function = function
        self._lock = threading.Lock()
        self.forget()
        _replayed.add(self)

    def __call__(self, *inputs: torch.Tensor | None) -> torch.Tensor:
        """Call the function; the first input must be a tensor."""
        if not _has_graphs(inputs[0]):
            return self._function(*inputs)
        key = tuple(None if t is None else (t.shape, t.dtype) for t in inputs)
        with self._lock:
            if key not in self._graphs and self._seen[key] > 0 and len(self._graphs) < MOST_GRAPHS:
                self._graphs[key] = self._made(inputs)
            self._seen[key] += 1
            run = self._graphs.get(key)
            return self._function(*inputs) if run is None else run(inputs)

    def forget(self) -> None:
        """Let go of all graphs and their memory."""
        with self._lock:
            self._graphs: dict[object, Run | None] = {}
            self._seen: Counter[object] = Counter()

    def _made(self, inputs: Inputs) -> Run | None:
        expected = self._function(*inputs)
        try:
            run = _graph(self._function, inputs)
            error = float((run(inputs) - expected).abs().amax() / expected.abs().amax().clamp_min(1e-12))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as fault:
            log.warning("no CUDA graph is used, frames take longer: %s", str(fault).splitlines()[0])
            return None
        if not error <= GRAPH_ERROR:
            log.warning("no CUDA graph is used, frames take longer: it is wrong by %.1e of the greatest value", error)
            return None
        return run


_replayed: WeakSet[Replayed] = WeakSet()


def _has_graphs(tensor: torch.Tensor | None) -> bool:
    return tensor is not None and tensor.is_cuda


def _graph(function: Callable[..., torch.Tensor], inputs: Inputs) -> Run:
    """Return what copies inputs into a graph's own, replays it, and copies its answer out."""
    own = tuple(None if t is None else t.clone() for t in inputs)
    beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):  # libraries choose their kernels and workspaces before the capture
        for _ in range(2):
            function(*own)
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads go on with their work
        answer = function(*own)

    def run(given: Inputs) -> torch.Tensor:
        for mine, new in zip(own, given, strict=True):
            if mine is not None and new is not None:
                mine.copy_(new)
        graph.replay()
        return answer.clone()

    return run
