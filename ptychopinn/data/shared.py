"""One data set for all processes of a training: the first builds it, the others wait for it."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ptychopinn.config.sections import DataConfig, TrainingConfig
from ptychopinn.data.experiment import Experiment
from ptychopinn.data.loader import WorkerRank
from ptychopinn.data.store import build_store, store_facts
from ptychopinn.errors import FileFormatError, ReconstructionError

RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK")
"""Environment variables in which launchers number the processes."""
POLL_S = 0.1
"""Time between looks for the data set of the first process, s."""
ReadScan = Callable[[Path], Experiment]
ScanSource = Path | Experiment


def own_rank() -> int:
    """Return the number of this process, also before ``torch.distributed`` is initialised."""
    named = next((os.environ[name] for name in RANKS if os.environ.get(name, "").isdigit()), "0")
    return WorkerRank.current().rank or int(named)


def share_store(
    folder: Path,
    sources: Sequence[ScanSource],
    read: ReadScan,
    data: DataConfig,
    training: TrainingConfig,
    *,
    is_lenient: bool = False,
    wait_s: float = 600.0,
) -> str:
    """Build the store of scans in ``folder``, unless it exists; return the identity of its data and settings.

    The first process builds it, all others wait for it. With ``is_lenient`` unusable scans are left out, and the store
    lists the reasons.

    Raises
    ------
    ReconstructionError
        If it cannot be built, or the first process does not build it within ``wait_s``.
    """
    wanted = _identity(sources, data, training)
    end = time.monotonic() + wait_s
    is_first = own_rank() == 0
    while not _is_there(folder, wanted):
        if is_first:
            refused: list[ReconstructionError] | None = [] if is_lenient else None
            build_store(folder, _scans(sources, read, refused), data, training, identity=wanted, refused=refused)
        elif time.monotonic() > end:
            raise ReconstructionError(f"{folder}: the first process did not build the data set within {wait_s:g} s")
        else:
            time.sleep(POLL_S)
    return wanted


def _scans(
    sources: Sequence[ScanSource], read: ReadScan, refused: list[ReconstructionError] | None
) -> Iterator[Experiment]:
    for source in sources:
        try:
            found = source if isinstance(source, Experiment) else read(source)
        except ReconstructionError as fault:
            if refused is None:
                raise
            refused.append(fault)
        else:
            yield found


def _is_there(folder: Path, identity: str) -> bool:
    try:
        return bool(store_facts(folder)["identity"] == identity)
    except FileFormatError:
        return False


def _identity(sources: Sequence[ScanSource], data: DataConfig, training: TrainingConfig) -> str:
    settings = {name: getattr(training, name) for name in ("seed", "validation_split", "n_groups")}
    whole = [asdict(data), settings, [_mark(source) for source in sources]]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()


def _mark(source: ScanSource) -> list[str | int]:
    """Return values that differ if a file or a scan has changed."""
    if isinstance(source, Experiment):
        arrays = (source.amplitude, source.positions_px, source.probe, source.object)
        return [source.name, *(zlib.crc32(np.ascontiguousarray(a).data) for a in arrays if a is not None)]
    try:
        found = source.stat()
    except OSError as fault:
        raise FileFormatError(f"{source}: cannot be read ({fault.strerror}); give training data") from None
    return [str(source.resolve()), found.st_size, found.st_mtime_ns]
