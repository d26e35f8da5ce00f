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
from torch._subclasses.fake_tensor import FakeTensorMode
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
ARRAYS = {torch.Tensor.tolist, torch.Tensor.numpy}


class HostReads(TorchFunctionMode):
    """Answers and counts reads of a device's values; ``waits`` is their number."""

    def __init__(self, answer: float) -> None:
        super().__init__()
        self.answer = answer
        self.waits = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is torch.Tensor.pin_memory:
            return args[0]
        if function is torch.Tensor.to and torch.device("cuda") in [_kind(a) for a in (*args[1:], *kwargs.values())]:
            return torch.empty(args[0].shape, dtype=args[0].dtype, device=CUDA)
        if function is torch.Tensor.copy_ or function is torch.Tensor.__setitem__:
            return _copied(args[0] if function is torch.Tensor.copy_ else args[0][args[1]], args[-1], function)
        if function in SCALARS or function in ARRAYS:
            self.waits += 1
            if function in SCALARS:
                return self.answer
            values = np.full(args[0].shape, self.answer, dtype=str(args[0].dtype).removeprefix("torch."))
            return values if function is torch.Tensor.numpy else values.tolist()
        return function(*args, **kwargs)

    @contextmanager
    def at_most(self, waits: int) -> Iterator[None]:
        """Fail if the block reads more often than this."""
        before = self.waits
        yield
        assert self.waits - before <= waits, f"the host read {self.waits - before} times, {waits} at most are allowed"


def _kind(value: Any) -> torch.device | None:
    return torch.device(value.type) if isinstance(value, torch.device) else None


def _copied(target: torch.Tensor, values: Any, function: Any) -> torch.Tensor | None:
    """Check that values copied into a tensor are on its device; a build of torch without CUDA cannot copy them."""
    if isinstance(values, torch.Tensor):
        assert values.device == target.device, f"values on {values.device} are copied to {target.device}"
        torch.broadcast_shapes(values.shape, target.shape)
    return target if function is torch.Tensor.copy_ else None


def on_cuda(network: torch.nn.Module) -> torch.nn.Module:
    """Return a network whose weights are on the device."""
    for module in network.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            setattr(module, name, torch.nn.Parameter(torch.empty(weight.shape, device=CUDA)))
    return network


@contextmanager
def fake_cuda(monkeypatch: pytest.MonkeyPatch, answer: float = 1.0) -> Iterator[HostReads]:
    """Run the block with fake tensors; CUDA graphs, which need a real device, are not recorded."""
    monkeypatch.setattr(device, "_has_graphs", lambda _: False)
    with FakeTensorMode(), HostReads(answer) as reads:
        yield reads
