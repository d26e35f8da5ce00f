"""Writes positions as a PandA's relay sends them: numbered samples in JSON, several per frame; ``panda`` reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.position_sources.panda import DEFAULT_CHANNELS
from streams.position_sources.samples import UNITS_M

__all__ = ["PandaMessages"]


@dataclass(frozen=True, slots=True)
class PandaMessages:
    """Writes the messages of a scan.

    The samples of a frame are spread evenly over the path of the stage during it; their mean is its position.

    Attributes
    ----------
    samples_per_frame
        Samples for each frame.
    samples_per_message
        Samples in each message but the last; beamlines send 41.
    channels
        Names of the y and the x channel.
    unit
        Unit of the samples, as in ``UNITS_M``.
    """

    samples_per_frame: int = 1
    samples_per_message: int = 41
    channels: tuple[str, str] = DEFAULT_CHANNELS
    unit: str = "um"

    def __call__(self, positions_m: NDArray[np.float64], scan_id: str) -> Iterator[tuple[int, list[bytes]]]:
        """Yield (index of the last frame that the message touches, message); positions ``(n, 2)``, metres, [y, x]."""
        del scan_id  # a PandA has no scans
        yield -1, _message("start", arm_time=None, start_time=None, hw_time_offset_ns=None)
        samples = self._samples(positions_m)
        starts = range(0, len(samples), self.samples_per_message)
        for number, first in enumerate(starts):
            some = samples[first : first + self.samples_per_message]
            datasets = {
                name: {
                    "dtype": "float64",
                    "size": len(some),
                    "starting_sample_number": first,
                    "data": some[:, axis].tolist(),
                }
                for axis, name in enumerate(self.channels)
            }
            last = (first + len(some) - 1) // self.samples_per_frame
            yield last, _message("data", frame_number=number, datasets=datasets)
        yield len(positions_m) - 1, _message("stop", emitted_frames=len(starts))

    def _samples(self, positions_m: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the samples ``(n * samples_per_frame, 2)`` in this unit."""
        count = self.samples_per_frame
        places = (np.arange(count) + 0.5) / count - 0.5
        way_m = np.gradient(positions_m, axis=0) if len(positions_m) > 1 else np.zeros_like(positions_m)
        samples_m = positions_m[:, None] + places[:, None] * way_m[:, None]
        return np.asarray(samples_m.reshape(-1, 2) / UNITS_M[self.unit])


def _message(kind: str, **fields: Any) -> list[bytes]:
    return [json.dumps({"msg_type": kind} | fields).encode()]
