"""A registry of scans without a daemon, on a clock that the test turns."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from daemon.intake.preprocess import Preprocess, PreprocessOptions
from daemon.intake.registry import RegistryOptions, ScanEvents, ScanRegistry
from daemon.intake.scan import Scan
from daemon.journal import Keeper
from daemon.optics.scan_optics import ScanOptics
from daemon.results.records import RecordFiles
from streams.frame import ScanStart
from streams.join.join import Join

TIMEOUT_S = 30.0
SIDE_PX = 4


@dataclass
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Told:
    """What the registry tells: scans that started, and those that are complete."""

    started: list[str] = field(default_factory=list)
    complete: list[Scan] = field(default_factory=list)

    def start(self, scan: Scan, _start: ScanStart) -> None:
        self.started.append(scan.id)


def make_registry(
    folder: Path, keeper: Keeper | None = None, clock: Clock | None = None, **options: int
) -> tuple[ScanRegistry, Told]:
    """Return a registry whose scans have an object pixel of 10 nm, and what it tells."""
    told, clock = Told(), clock or Clock()
    scans = ScanRegistry(
        RecordFiles(folder),
        Join(clock=clock, **options),
        RegistryOptions(TIMEOUT_S, lambda _geometry: ScanOptics(None, None, None, 1e-8), clock=clock),
        ScanEvents(told.start, told.complete.append),
        keeper,
    )
    return scans, told


def make_preprocess() -> Preprocess:
    """Return what passes frames of 4 pixels a side on as they are."""
    return Preprocess(PreprocessOptions("identity", (SIDE_PX // 2, SIDE_PX // 2), SIDE_PX))
