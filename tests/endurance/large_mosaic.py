"""Lays stand-in patches over a large mosaic within a bound on memory, and prints memory and cost a frame while it grows.

    python -m tests.endurance.large_mosaic [--frames 1000000] [--side-px 31623] [--gib 4] [--folder DIR]

Row by row, as a stage scans; ten parts of equal numbers of frames. At the end some patches of the first row are read back.
The file takes about 30 bytes of disk a pixel.
"""

from __future__ import annotations

import argparse
import math
import resource
import time
from pathlib import Path

import numpy as np
import psutil
import torch

from ptychopinn.mosaic.memory_bound import MemoryBound
from ptychopinn.mosaic.mosaic import Mosaic

SIZE_PX, BATCH, PARTS = 128, 256, 10


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--side-px", type=int, default=31_623)
    parser.add_argument("--gib", type=float, default=4.0)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    axis = torch.linspace(-2, 2, SIZE_PX)
    weight = torch.exp(-(axis[:, None] ** 2) - axis**2)
    bound = MemoryBound(int(options.gib * 2**30), options.folder)
    mosaic = Mosaic(weight, max_side_px=2 * options.side_px, bound=bound)
    patches = torch.randn(BATCH, SIZE_PX, SIZE_PX, dtype=torch.complex64)
    row = math.isqrt(options.frames)
    step_px = (options.side_px - SIZE_PX) / (row - 1)
    process = psutil.Process()
    print("frames      side, px          memory, MiB   CPU us a frame   wall us a frame", flush=True)
    for part in np.array_split(np.arange(row * row), PARTS):
        cpu, wall = time.process_time(), time.perf_counter()
        for begin in range(0, len(part), BATCH):
            numbers = part[begin : begin + BATCH]
            places = np.stack(np.divmod(numbers, row), axis=1) * step_px
            mosaic.add(numbers.tolist(), patches[: len(numbers)], places)
        mosaic.take_dirty()
        cpu = (time.process_time() - cpu) / len(part) * 1e6
        wall = (time.perf_counter() - wall) / len(part) * 1e6
        resident = process.memory_info().rss / 2**20
        print(f"{part[-1] + 1:9,d}   {mosaic.shape!s:16}  {resident:9,.0f}  {cpu:12.1f}  {wall:12.1f}", flush=True)
    begun = time.perf_counter()
    for place in (np.arange(10) * step_px * 17).tolist():
        assert mosaic.cut((0.0, place)).abs().max() > 0
    print(f"a patch of the first row is read in {(time.perf_counter() - begun) * 100:.1f} ms")
    print(f"highest memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:,.0f} MiB")


if __name__ == "__main__":
    main()
