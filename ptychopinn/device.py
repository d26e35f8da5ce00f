"""Devices: selection, host copies, pinned memory, CUDA graphs. All other modules run unchanged on CPU and GPU."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakSet

import numpy as np
import torch
from numpy.typing import NDArray

SMALL_BYTES = 1 << 19
"""Arrays up to this size, bytes, stay in the cache of a core and in the heap; larger ones may be mapped and cleared each time,
which costs more than a projection."""

MOST_AT_ONCE = 256
"""Number of frames of one call on a GPU: enough to occupy it, and bounded in memory."""
MOST_GRAPHS = 4
"""Greatest number of CUDA graphs of one function; each keeps its own buffers in GPU memory."""
GRAPH_ERROR = 1e-4
"""Greatest deviation of a graph from its function, relative to the greatest value: rounding of float32."""

TINY = 1e-12
"""Lowest greatest value that an error is divided by; avoids 0 / 0."""

log = logging.getLogger(__name__)


_prefers_batched = False


def prefer_batched(flag: bool) -> None:
    """Select on a CPU the code that a GPU runs: batches at once instead of pieces that fit a cache.

    For counts of launches and for tests. It holds for what is made after the call.
    """
    global _prefers_batched
    _prefers_batched = flag


@contextmanager
def batched() -> Iterator[None]:
    """Run the block as after ``prefer_batched(True)``."""
    before = _prefers_batched
    prefer_batched(True)
    try:
        yield
    finally:
        prefer_batched(before)


def is_batched(device: torch.device) -> bool:
    """Return whether work on a device is done in large batches, with few launches."""
    return _prefers_batched or device.type == "cuda"


def frames_at_once(frame: torch.Tensor) -> int:
    """Return the number of frames of this size to process at once on its device: on a CPU they make a small array."""
    return MOST_AT_ONCE if is_batched(frame.device) else max(1, SMALL_BYTES // frame.nbytes)


def choose_device(name: str) -> torch.device:
    """Return the device for ``name``; ``auto`` takes CUDA where there is one, else the CPU.

    Raises
    ------
    ValueError
        If a CUDA device is named but not available.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f'device "{name}" is not available: this machine has no usable CUDA device; use device = "cpu"'
        )
    return device


def to_device(array: NDArray[np.generic], device: torch.device) -> torch.Tensor:
    """Return ``array`` on ``device``; to CUDA through pinned memory, asynchronously."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor


def to_host(tensor: torch.Tensor) -> NDArray[np.generic]:
    """Return a copy of ``tensor`` on the host."""
    if tensor.device.type == "cpu":
        return tensor.detach().clone().numpy()
    return tensor.detach().cpu().numpy()


class HostCopy:
    """A tensor on its way to the host; on CUDA the copy runs beside other work, through pinned memory.

    Nobody may change the tensor afterwards: on a CPU the copy is the tensor itself.
    """

    def __init__(self, tensor: torch.Tensor) -> None:
        self.nbytes = tensor.nbytes
        self._tensor = tensor.detach()
        self._event: torch.cuda.Event | None = None
        if tensor.is_cuda:
            self._tensor, self._event = _begin_copy(self._tensor)

    def array(self) -> NDArray[np.generic]:
        """Return the copy; waits until it is complete."""
        if self._event is not None:
            self._event.synchronize()
        return self._tensor.numpy()


_copy_streams: dict[torch.device, torch.cuda.Stream] = {}


def _begin_copy(tensor: torch.Tensor) -> tuple[torch.Tensor, torch.cuda.Event]:
    """Begin a copy into pinned memory on a stream of its own; return it, and the event that says when it is complete."""
    stream = _copy_streams.get(tensor.device)
    if stream is None:
        stream = _copy_streams[tensor.device] = torch.cuda.Stream(tensor.device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(tensor.device))
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        pinned.copy_(tensor, non_blocking=True)
        event.record(stream)
    tensor.record_stream(stream)
    return pinned, event


def memory_bytes(device: torch.device) -> int:
    """Return the memory of this process on ``device``, bytes; 0 on a CPU, whose memory the system reports."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def release_memory(device: torch.device) -> None:
    """Free unused cached memory on ``device`` and all CUDA graphs, after an out-of-memory error."""
    if device.type == "cuda":
        for replayed in list(_replayed):
            replayed.forget()
        torch.cuda.empty_cache()


Inputs = tuple[torch.Tensor | None, ...]
GraphRun = Callable[[Inputs], torch.Tensor]


class Replayed:
    """A function of tensors that a CUDA device replays as a graph: one launch instead of a hundred.

    A graph is recorded when inputs of the same shapes occur for the second time, for MOST_GRAPHS shapes at most. It is used
    only if its result equals that of the function; else, and on other devices, the function is called. The function must
    have no state except constant tensors, and must not synchronise.
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
        """Drop all graphs and their memory."""
        with self._lock:
            self._graphs: dict[object, GraphRun | None] = {}
            self._seen: Counter[object] = Counter()

    def _made(self, inputs: Inputs) -> GraphRun | None:
        expected = self._function(*inputs)
        try:
            run = _graph(self._function, inputs)
            error = float((run(inputs) - expected).abs().amax() / expected.abs().amax().clamp_min(TINY))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as fault:
            log.warning("no CUDA graph is used, frames take longer: %s", str(fault).splitlines()[0])
            return None
        if not error <= GRAPH_ERROR:
            log.warning("no CUDA graph is used, frames take longer: its relative error is %.1e", error)
            return None
        return run


_replayed: WeakSet[Replayed] = WeakSet()


def _has_graphs(tensor: torch.Tensor | None) -> bool:
    return tensor is not None and tensor.is_cuda


def _graph(function: Callable[..., torch.Tensor], inputs: Inputs) -> GraphRun:
    """Return a function that copies inputs into a graph's buffers, replays it, and returns a copy of the result."""
    own = tuple(None if t is None else t.clone() for t in inputs)
    beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):  # libraries must choose kernels and workspaces before the capture
        for _ in range(2):
            function(*own)
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads may use the device
        answer = function(*own)

    def run(given: Inputs) -> torch.Tensor:
        for mine, new in zip(own, given, strict=True):
            if mine is not None and new is not None:
                mine.copy_(new)
        graph.replay()
        return answer.clone()

    return run
