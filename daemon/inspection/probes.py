"""The probe of a scan: modes, propagation along the beam, difference to the one that was given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from daemon.errors import NotHeldError
from daemon.inspection.scans import ScanReader
from daemon.messages import ProbeFields
from ptychopinn.detector.geometry import HC_EV_M

Which = Literal["now", "given", "difference"]


class ProbeLookup:
    """Answers viewers about probes; safe from any thread. ``energy_eV`` and ``pixel_size_m`` are those of a scan, if known."""

    def __init__(
        self,
        scans: ScanReader,
        energy_eV: Callable[[str], float | None],
        pixel_size_m: Callable[[str], float | None],
    ) -> None:
        self._scans = scans
        self._energy_eV = energy_eV
        self._pixel_size_m = pixel_size_m

    def probe(self, scan_id: str) -> ProbeFields:
        """Return a description of the probe. Raises :class:`NotHeldError` where the scan's probe is not held."""
        now, given = self._both(scan_id)
        energy = np.square(np.abs(now)).sum((1, 2), dtype=np.float64)
        pixel_m, wavelength_m = self._pixel_size_m(scan_id), self._wavelength_m(scan_id)
        side = now.shape[-1]
        total = float(np.square(np.abs(given)).sum(dtype=np.float64))
        change = None
        if now.shape == given.shape and total > 0:
            change = float(np.square(np.abs(difference(now, given))).sum(dtype=np.float64)) / total
        return {
            "scan_id": scan_id,
            "shares": (energy / max(energy.sum(), np.finfo(float).tiny)).tolist(),
            "side_px": side,
            "pixel_size_m": pixel_m,
            "wavelength_m": wavelength_m,
            "reach_m": None if pixel_m is None or wavelength_m is None else side * pixel_m**2 / wavelength_m,
            "change": change,
        }

    def waves(self, scan_id: str, which: Which, distance_m: float) -> NDArray[np.complex64]:
        """Return the modes ``(modes, N, N)`` at a distance along the beam from the sample, positive downstream."""
        now, given = self._both(scan_id)
        if which == "difference" and now.shape != given.shape:
            raise NotHeldError(
                f"the probe of scan {scan_id} has another shape than the given one, so no difference can be shown"
            )
        waves = difference(now, given) if which == "difference" else now if which == "now" else given
        if distance_m == 0:
            return waves
        pixel_m, wavelength_m = self._pixel_size_m(scan_id), self._wavelength_m(scan_id)
        if pixel_m is None or wavelength_m is None:
            missing = "photon energy" if wavelength_m is None else "pixel size"
            raise NotHeldError(
                f"the {missing} of scan {scan_id} is unknown, so its probe cannot be propagated; give [optics]"
            )
        return propagated(waves, pixel_m, wavelength_m, distance_m)

    def _both(self, scan_id: str) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
        scan = self._scans.scan(scan_id)
        if scan is None:
            raise NotHeldError(
                f"the probe of scan {scan_id} is not held; its product is not written yet, or was removed"
            )
        return scan.probe, scan.first_probe

    def _wavelength_m(self, scan_id: str) -> float | None:
        energy_eV = self._energy_eV(scan_id)
        return None if energy_eV is None else HC_EV_M / energy_eV


def difference(now: NDArray[np.complex64], given: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Return ``now`` less ``given``, once the global phase of ``given`` is turned to that of ``now``; both ``(modes, N, N)``."""
    overlap = complex(np.vdot(given, now))
    turn = overlap / abs(overlap) if abs(overlap) > 0 else 1.0
    return np.asarray(now - given * np.complex64(turn), dtype=np.complex64)


def propagated(
    waves: NDArray[np.complex64], pixel_m: float, wavelength_m: float, distance_m: float
) -> NDArray[np.complex64]:
    """Return waves ``(modes, N, N)`` after a distance in free space, in the paraxial approximation; energy is kept."""
    rows, columns = (np.fft.fftfreq(side, pixel_m) for side in waves.shape[-2:])
    transfer = np.exp(-1j * np.pi * wavelength_m * distance_m * (rows[:, None] ** 2 + columns[None, :] ** 2))
    return np.asarray(np.fft.ifft2(np.fft.fft2(waves) * transfer), dtype=np.complex64)
