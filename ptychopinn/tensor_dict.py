"""``TensorDict``, imported without PyTorch's compiler: it would take 1.5 s of each process, and nothing here compiles."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch.compiler

__all__ = ["TensorDict"]

MARKS = ("allow_in_graph", "assume_constant_result")
"""Functions of ``torch.compiler`` that tensordict calls when it is imported; each loads the compiler."""


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Replace the marks for compiled code by the function itself, unless the compiler is loaded already."""
    if "torch._dynamo" in sys.modules:
        yield
        return
    marks: dict[str, Any] = {name: getattr(torch.compiler, name) for name in MARKS}
    for name in MARKS:
        setattr(torch.compiler, name, _unmarked)
    try:
        yield
    finally:
        for name, mark in marks.items():
            setattr(torch.compiler, name, mark)


def _unmarked(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


with _without_compiler():
    from tensordict import TensorDict
