"""Count launches and waits of each stage on the code that a GPU runs, without a GPU.

A launch is an operation that is dispatched and makes or changes values; views make none. A wait is a read of a value on the host,
at which a GPU's queue runs empty.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypedDict

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from daemon.engine.sample import FrameSample
from ptychopinn.device import MOST_AT_ONCE, batched
from ptychopinn.frame_store import FrameStore
from ptychopinn.model import Lift
from ptychopinn.model.base import Model
from ptychopinn.model.bundle import find_bundle, load_model
from ptychopinn.mosaic.groups import GroupBuilder, GroupFrame
from ptychopinn.mosaic.mosaic import Mosaic
from ptychopinn.mosaic.placement import gather
from ptychopinn.mosaic.second_look import SecondLooks
from ptychopinn.physics.diffraction import propagate
from ptychopinn.refine.moving_probe import PROBE_PASSES
from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.tensor_dict import TensorDict

FRAMES = MOST_AT_ONCE
"""Frames of a batch: those of a GPU."""
READS = {
    torch.Tensor.tolist,
    torch.Tensor.item,
    torch.Tensor.numpy,
    torch.Tensor.__bool__,
    torch.Tensor.__float__,
    torch.Tensor.__int__,
    torch.Tensor.__index__,
    torch.Tensor.nonzero,
    torch.nonzero,
}
"""Functions that wait for a device's values."""


# Create no work on a device although they are dispatched
FREE = {"_local_scalar_dense", "detach", "empty", "empty_like", "empty_strided", "lift_fresh", "_unsafe_view"}
CPU = torch.device("cpu")
PROJECTIONS = 2
"""Projections of a look of the lift, as a model without a network has them."""


class Counts(TypedDict):
    """Numbers of one stage, a frame."""

    launches_per_frame: float
    waits_per_frame: float


class _Reads(TorchFunctionMode):
    """Counts reads of values; those within a read, such as the ``item`` of a ``float``, are not counted again."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.waits += function in READS
        return function(*args, **(kwargs or {}))


class _Launches(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operations that make or change values."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.launches = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.launches += not (function.is_view or function.overloadpacket.__name__ in FREE)
        return function(*args, **(kwargs or {}))


def measure_launches(size_px: int = 128, frames: int = MOST_AT_ONCE) -> dict[str, Counts]:
    """Count launches and waits a frame of each stage, in batches of ``frames`` patterns ``(size_px, size_px)``."""
    scan = StageScan(size_px, frames)
    with batched():
        return {name: _count(stage, frames) for name, stage in scan.stages().items()}


def count_launches(work: Callable[[], object]) -> int:
    """Return the number of launches of some work."""
    with _Launches() as launches:
        work()
    return int(launches.launches)


def _count(stage: Callable[[], object], frames: int) -> Counts:
    stage()  # what is made once for a scan is made now
    with _Reads() as reads, _Launches() as launches:
        stage()
    return {"launches_per_frame": launches.launches / frames, "waits_per_frame": reads.waits / frames}


class StageScan:
    """A scan of a smooth phase object under a round probe, with a call for each stage of the chain on a device.

    Parameters
    ----------
    size_px, frames
        Side of the patterns, and their number; all of them are one batch.
    """

    def __init__(self, size_px: int, frames: int, device: torch.device = CPU) -> None:
        axis = torch.linspace(-3, 3, size_px)
        probe = 100 * torch.exp(-(axis[:, None] ** 2) - axis**2).to(torch.complex64)[None]
        side = math.ceil(frames**0.5)
        places = np.stack(np.divmod(np.arange(frames), side), axis=1) * (size_px // 8)
        far = size_px // 8 * side + size_px
        y, x = (torch.arange(far) * (2 * torch.pi * turns / size_px) for turns in (1.5, 2.5))
        phase = 0.3 * (y.sin()[:, None] + x.cos())
        picture, start = (torch.polar(torch.ones(far, far), share * phase) for share in (1.0, 0.8))
        amplitude = propagate(probe * gather(picture, places, size_px)[:, None])[:, 0].abs()
        self._positions = places + size_px / 2 + 0.25
        self._frames = [
            GroupFrame(index, amplitude[index].numpy(), (y, x)) for index, (y, x) in enumerate(self._positions.tolist())
        ]
        self._probe, self._start, self._amplitude = (t.to(device) for t in (probe, start, amplitude))

    def stages(self) -> dict[str, Callable[[], object]]:
        """Return a call for each stage that does a batch's work."""
        (group,) = self._group()
        lift = Lift(self._probe, projections=PROJECTIONS)
        stages: dict[str, Callable[[], object]] = {
            "group": self._take,
            "predict_lift": lambda: lift.predict(group),
            "mosaic": self._mosaic_stage(),
            "refine": self._refine_stage(),
            "refine_moving_probe": self._refine_stage(update_probe=True),
            "refine_subpixel": self._refine_stage(update_probe=True, is_subpixel=True),
        }
        path = find_bundle("shipped")
        if path is not None:
            network, _ = load_model(path, self._probe)
            stages["predict_network"] = lambda: network.predict(group)
            stages["second_look"] = self._second_look_stage(network)
        return stages

    def _group(self) -> list[TensorDict]:
        return GroupBuilder(1, self._probe.shape[-1] / 2, self._probe.device).add(self._frames)

    def _take(self) -> None:
        """Group and upload the frames of a batch, store them, and take some into the sample."""
        (group,) = self._group()
        amplitude, store = group["images"][:, 0], FrameStore()
        placed = [(frame.index, frame.position_px) for frame in self._frames]
        FrameSample(store).add(placed, amplitude, store.put(amplitude))

    def _mosaic(self, keep_bytes: int = 0) -> Mosaic:
        mosaic = Mosaic(self._probe.abs().square().sum(0), keep_bytes=keep_bytes)
        patches = torch.ones_like(self._amplitude, dtype=torch.complex64)
        mosaic.add(range(len(patches)), patches, self._positions)
        return mosaic

    def _mosaic_stage(self) -> Callable[[], object]:
        mosaic, patches = self._mosaic(), torch.ones_like(self._amplitude, dtype=torch.complex64)
        return lambda: mosaic.add(range(len(patches)), patches, self._positions)

    def _refine_stage(self, *, update_probe: bool = False, is_subpixel: bool = False) -> Callable[[], object]:
        """One pass over all frames, and the move of the object and, if it follows, of the probe at its end.

        It is a later pass, as most are: the ramp is taken off, and the probe follows (where there are ``PROBE_FRAMES``).
        """
        refiner = Refiner(
            self._probe, lambda box: self._start[box.window], update_probe=update_probe, is_subpixel=is_subpixel
        )
        for frame, amplitude in zip(self._frames, self._amplitude.unbind(0), strict=True):
            y, x = frame.position_px
            refiner.add(
                frame.index, amplitude, (y + is_subpixel * frame.index % 3 / 8, x + is_subpixel * frame.index % 5 / 8)
            )
        _visit(refiner, (PROBE_PASSES + 1) * len(self._frames))
        return lambda: _visit(refiner, len(self._frames))

    def _second_look_stage(self, model: Model) -> Callable[[], object]:
        """A second look at every frame."""
        weight = self._probe.abs().square().sum(0)
        mosaic = self._mosaic(keep_bytes=len(self._frames) * 8 * weight.numel())

        patterns = FrameStore().put(self._amplitude)

        def look() -> None:
            looks = SecondLooks(model.predict, mosaic, weight / weight.max())
            for frame, pattern in zip(self._frames, patterns, strict=True):
                looks.add(frame.index, pattern, frame.position_px, 1)
            looks.step(len(self._frames), has_ended=True)

        return look


def _visit(refiner: Refiner, frames: int) -> None:
    """Let the refiner visit so many frames."""
    while frames > 0 and (count := refiner.step()):
        frames -= count
