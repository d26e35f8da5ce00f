"""Make the demo's scan from the measured file: ``python deploy/demo/make_demo_data.py siemens-star-small.npz.bz2``.

The counts are written as uint16, and the script stops if that would change one. The measured file states no optics:
those below are ASSUMED, which the written file says of itself. The measured file's analytic probe goes beside it. The
licence text is looked for beside the measured file (``*.LICENSE.txt``) and goes beside and into the written one. The same
input gives the same bytes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from daemon.files.completion import completed
from daemon.files.cxi import write_cxi
from daemon.files.scan import ScanFile
from daemon.files.scan_file import read_scan

NAME = "siemens-star"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measured", type=Path, help="siemens-star-small.npz.bz2, its licence beside it")
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[2] / "daemon" / "demo_data")
    options = parser.parse_args()

    licence = next(options.measured.parent.glob(f"{NAME}*.LICENSE.txt")).read_text()
    measured = read_scan(options.measured)
    counts = measured.counts.astype(np.uint16)
    if (counts != measured.counts).any():
        print(f"{options.measured}: the counts are not whole numbers below 65536", file=sys.stderr)
        return 1
    notes = (
        "Siemens star, measured by hard X-ray ptychography with a zone plate at the Advanced Photon Source; from the",
        "test data of github.com/AdvancedPhotonSource/tike. Changed here: counts as uint16 (the same numbers), zero",
        "frequency in the middle, positions of patch centres in metres.",
        "ASSUMED, since the measured file states none: photon energy, detector distance, detector pixel size; the scan",
        "itself is in object pixels.",
        "",
        licence,
    )
    assumed = ScanFile(
        name=NAME,
        counts=counts,
        indexes=measured.indexes,
        positions_px=measured.positions_px,
        photon_energy_eV=8800.0,
        detector_distance_m=1.92,
        detector_pixel_size_m=75e-6,
        notes=notes,
    )
    scan = completed(assumed, options.measured)
    options.output.mkdir(parents=True, exist_ok=True)
    target = options.output / f"{NAME}.cxi"
    write_cxi(target, scan)
    np.savez_compressed(
        options.output / f"{NAME}-guess.npz", probe=measured.probe, object_pixel_size_m=scan.object_pixel_size_m
    )
    (options.output / f"{NAME}.LICENSE.txt").write_text(licence)
    print(f"{target}: {target.stat().st_size} bytes, {len(counts)} frames, at most {counts.max()} counts,", end=" ")
    print(f"object pixel {scan.object_pixel_size_m:.6g} m")
    return 0


if __name__ == "__main__":
    sys.exit(main())
