"""The result of an engine of ``bench real``, and the folder of finished runs, from which an interrupted measurement continues."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.atomic import atomic_path
from ptychopinn.diagnosis.comparison import PlacedPicture


@dataclass(slots=True, eq=False)
class EngineRun:
    """Pictures ``(time, picture)``, the last one last; positions and R-factor at the end.

    ``frc_px`` is the resolution that the engine measures itself, ``cpu_s`` the CPU time of all its processes.
    """

    pictures: list[tuple[float, PlacedPicture]] = field(default_factory=list)
    positions_px: NDArray[np.float64] | None = None
    rfactor: float | None = None
    frc_px: float | None = None
    cpu_s: float = 0.0


class RunFolder:
    """Finished runs in a folder, by name; ``setting`` names what all of them have in common."""

    def __init__(self, folder: Path, setting: str) -> None:
        self._folder = folder
        self._setting = setting

    def made(self, name: str, make: Callable[[], EngineRun]) -> EngineRun:
        """Return a run from the folder, or make it and keep it there."""
        path = self._folder / f"{name}-{self._setting}.npz"
        if path.exists():
            return _read(path)
        run = make()
        self._folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as part, part.open("wb") as stream:
            np.savez_compressed(stream, **_arrays(run))
        return run


def _arrays(run: EngineRun) -> dict[str, Any]:
    numbers = [np.nan if value is None else value for value in (run.rfactor, run.frc_px, run.cpu_s)]
    arrays: dict[str, Any] = {"seconds": np.array([at for at, _ in run.pictures])}
    arrays["numbers"] = np.array(numbers, dtype=np.float64)
    if run.positions_px is not None:
        arrays["positions_px"] = run.positions_px
    for number, (_, picture) in enumerate(run.pictures):
        arrays[f"object{number}"], arrays[f"known{number}"] = picture.object, picture.known
        arrays[f"origin{number}"] = np.array(picture.origin_px)
    return arrays


def _read(path: Path) -> EngineRun:
    with np.load(path, allow_pickle=False) as file:
        pictures = [
            (float(at), PlacedPicture(file[f"object{i}"], file[f"known{i}"], tuple(file[f"origin{i}"].tolist())))
            for i, at in enumerate(file["seconds"])
        ]
        rfactor, frc_px, cpu_s = (None if np.isnan(value) else float(value) for value in file["numbers"])
        positions_px = file.get("positions_px", None)
    return EngineRun(pictures, positions_px, rfactor, frc_px, cpu_s or 0.0)
