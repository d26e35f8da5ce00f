"""Messages between the reader and its workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.config import Config
from daemon.engine.models import ActiveModel
from daemon.engine.options import EngineOptions
from daemon.engine.result import ScanResult
from daemon.engine.sums import SumsUpdate
from daemon.messages import FrcFields
from ptychopinn.device import to_host
from ptychopinn.model.bundle import Bundle
from ptychopinn.refine.merged import RefinedTile
from streams.frame import PositionM, ScanPoint
from streams.refusal_reasons import RefusalReason


@dataclass(frozen=True, slots=True, eq=False)
class WorkerPlan:
    """How a worker makes its engine; its options lack the object pixel, which comes with the frames."""

    number: int
    config: Config
    options: EngineOptions


@dataclass(frozen=True, slots=True, eq=False)
class ModelPlan:
    """A model to make: its bundle, None for the lift alone, the probe ``(modes, N, N)``, and the generation."""

    bundle: Bundle | None
    probe: NDArray[np.complex64]
    generation: int

    @classmethod
    def of(cls, model: ActiveModel) -> ModelPlan:
        """Return the plan of a model."""
        return cls(model.bundle, np.asarray(to_host(model.probe), dtype=np.complex64), model.generation)


@dataclass(frozen=True, slots=True, eq=False)
class FrameBatch:
    """Frames of one scan in one object: ``counts`` ``(n, N, N)``, and ``positions_m`` ``(n, 2)`` [y, x].

    Those of the halo belong to another worker; they help the refined layer alone, and have no account here.
    """

    scan_id: str
    epoch: int
    pixel_size_m: float
    indexes: NDArray[np.int64]
    counts: NDArray[np.generic]
    positions_m: NDArray[np.float64]
    is_halo: bool = False

    @classmethod
    def of(cls, points: Sequence[ScanPoint], epoch: int, pixel_size_m: float, *, is_halo: bool) -> FrameBatch:
        """Return points of one scan as a batch."""
        return cls(
            scan_id=points[0].scan_id,
            epoch=epoch,
            pixel_size_m=pixel_size_m,
            indexes=np.array([point.index for point in points], dtype=np.int64),
            counts=np.stack([point.counts for point in points]),
            positions_m=np.array([point.position_m for point in points], dtype=np.float64),
            is_halo=is_halo,
        )

    def points(self, received_ns: int) -> list[ScanPoint]:
        """Return the frames; they share the memory of the batch."""
        rows = zip(self.indexes.tolist(), self.counts, self.positions_m.tolist(), strict=True)
        return [ScanPoint(self.scan_id, index, counts, PositionM(y, x), received_ns) for index, counts, (y, x) in rows]


@dataclass(frozen=True, slots=True)
class BatchDone:
    """The account of a batch: each of its frames is in one of the two."""

    stitched: Sequence[int]
    refused: Mapping[int, RefusalReason]


@dataclass(frozen=True, slots=True)
class MetricSamples:
    """The samples of one metric: name, text and kind of its family, and name, labels and value of each sample."""

    name: str
    text: str
    kind: str
    samples: Sequence[tuple[str, Mapping[str, str], float]]


@dataclass(frozen=True, slots=True, eq=False)
class ProbeReport:
    """A worker's probe ``fields`` ``(fields * modes, N, N)`` with ``modes``.

    It has moved ``steps`` times by the worker's own frames, of which there are ``frames``, and has taken ``taken`` changes.
    """

    fields: NDArray[np.complex64]
    modes: int
    steps: int
    taken: int
    frames: int


@dataclass(frozen=True, slots=True, eq=False)
class RefinedPart:
    """Tiles that changed in a worker's refined layer, with R over its frames, its probe, and how sharp it is.

    Each of its frames has been visited ``visits`` times at least.
    """

    scan_id: str
    tiles: Sequence[RefinedTile]
    rfactor: float | None
    visits: int
    probe: ProbeReport | None
    frc: FrcFields | None


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """What changed at a worker since it was asked last: tiles, samples of its metrics, and its last fault in words.

    ``sequence`` is the number of updates that it has told in this epoch, these included.
    """

    epoch: int
    sequence: int
    sums: Sequence[SumsUpdate]
    refined: Sequence[RefinedPart] = ()
    metrics: Sequence[MetricSamples] = ()
    failure: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PartResult:
    """A worker's part of a scan that is done once the update ``sequence`` is there; its pictures are left out."""

    epoch: int
    sequence: int
    result: ScanResult


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """Where a worker runs: machine, process, device."""

    host: str
    pid: int
    device: str
