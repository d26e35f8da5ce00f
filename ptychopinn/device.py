"""The one module that knows about devices: choosing one, host copies, pinned staging, waiting.

Everything else says ``tensor.to(device)`` through these functions and runs unchanged on a CPU.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

SMALL_BYTES = 1 << 19
"""Arrays of so many bytes stay in a core's cache and in the allocator's heap; larger ones may be mapped, and cleared, anew
each time, which costs more than a projection."""

MOST_AT_ONCE = 256


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
    """Give back what is cached and not in use on ``device``, after it has run out."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
