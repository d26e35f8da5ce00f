"""A CUDA device without one: tensors that have a device, a shape and no values.

A tensor left on the host beside one on the device is an error, and so is a shape that depends on values. Values that the code
reads on the host are answered with one number, and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode

from ptychopinn import device

CUDA = torch.device("cuda", 0)
SCALARS = {
    torch.Tensor.item,
    torch.Tensor.__float__,
    torch.Tensor.__int__,
    torch.Tensor.__bool__,
    torch.Tensor.__index__,
}
_from_numpy = torch.from_numpy
ARRAYS = {torch.Tensor.tolist, torch.Tensor.numpy}


class HostReads(TorchFunctionMode):
    """Answers and counts reads of a device's values; ``waits`` is their number."""

    def __init__(self, answer: float) -> None:
        super().__init__()
        self.answer = answer
        self.waits = 0
        self._host: dict[int, tuple[torch.Tensor, np.ndarray]] = {}

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is torch.Tensor.pin_memory:
            return args[0]
        if function is torch.Tensor.to and torch.device("cuda") in [_kind(a) for a in (*args[1:], *kwargs.values())]:
            return torch.empty(args[0].shape, dtype=args[0].dtype, device=CUDA)
        if function is torch.Tensor.__getitem__:
            return _part(*args)
        if function is torch.Tensor.__setitem__:
            _copied(_part(*args[:2]), args[2])
            return None
        if function is torch.nn.functional.grid_sample:
            picture, places = args[:2]
            assert picture.device == places.device
            return torch.empty(*picture.shape[:2], *places.shape[1:3], device=CUDA)
        if function is torch.Tensor.contiguous:
            return torch.empty_like(args[0], memory_format=torch.contiguous_format)
        if function is torch.Tensor.copy_:
            return _copied(*args[:2])
        if function in ARRAYS and id(args[0]) in self._host:  # it never left the host
            array = self._host[id(args[0])][1]
            return array if function is torch.Tensor.numpy else array.tolist()
        if function in SCALARS or function in ARRAYS:
            self.waits += 1
            if function in SCALARS:
                return bool(self.answer) if function is torch.Tensor.__bool__ else self.answer
            values = np.full(args[0].shape, self.answer, dtype=str(args[0].dtype).removeprefix("torch."))
            return values if function is torch.Tensor.numpy else values.tolist()
        return function(*args, **kwargs)

    def from_numpy(self, array: np.ndarray) -> torch.Tensor:
        """Do what torch's function does, and remember the values."""
        tensor = _from_numpy(array)
        self._host[id(tensor)] = tensor, array
        return tensor

    @contextmanager
    def at_most(self, waits: int) -> Iterator[None]:
        """Fail if the block reads more often than this."""
        before = self.waits
        yield
        assert self.waits - before <= waits, f"the host read {self.waits - before} times, {waits} at most are allowed"


def _kind(value: Any) -> torch.device | None:
    return torch.device(value.type) if isinstance(value, torch.device) else None


def _part(tensor: torch.Tensor, index: Any) -> torch.Tensor:
    """Return what an index selects, by operations that a build of torch without CUDA has for CUDA tensors."""
    parts = list(index) if isinstance(index, tuple) else [index]
    taken = sum(part is not None and part is not Ellipsis for part in parts)
    if Ellipsis in [part for part in parts if not isinstance(part, torch.Tensor)]:
        at = next(k for k, part in enumerate(parts) if part is Ellipsis)
        parts[at : at + 1] = [slice(None)] * (tensor.ndim - taken)
    dim, chosen = 0, list[torch.Tensor | None]()
    for part in parts:
        if part is None:
            tensor = tensor.unsqueeze(dim)
        elif isinstance(part, slice):
            tensor = torch.ops.aten.slice(tensor, dim, part.start, part.stop, part.step or 1)
        elif isinstance(part, torch.Tensor):
            chosen += [None] * (dim - len(chosen)) + [part]
        else:
            tensor = tensor.select(dim, int(part))
            continue
        dim += 1
    return torch.ops.aten.index(tensor, chosen) if chosen else tensor


def _copied(target: torch.Tensor, values: Any) -> torch.Tensor:
    """Check that values copied into a tensor are on its device, and fit."""
    if isinstance(values, torch.Tensor):
        assert values.device == target.device, f"values on {values.device} are copied to {target.device}"
        torch.broadcast_shapes(values.shape, target.shape)
    return target


def on_cuda(network: torch.nn.Module) -> torch.nn.Module:
    """Return a network whose weights are on the device."""
    for module in network.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            setattr(module, name, torch.nn.Parameter(torch.empty(weight.shape, device=CUDA)))
    return network


@contextmanager
def fake_cuda(monkeypatch: pytest.MonkeyPatch, answer: float = 1.0) -> Iterator[HostReads]:
    """Run the block with fake tensors; CUDA graphs and streams, which need a real device, are left out."""
    monkeypatch.setattr(device, "_has_graphs", lambda _: False)
    monkeypatch.setattr(device, "_begin_copy", lambda tensor: (tensor, None))
    reads = HostReads(answer)
    monkeypatch.setattr(torch, "from_numpy", reads.from_numpy)
    monkeypatch.setattr(FakeTensor, "tolist", lambda tensor: torch.Tensor.tolist(tensor))  # else value by value
    with FakeTensorMode(), reads:
        yield reads
