"""The optics of a scan: from the configuration, else from the stream's header, else from the probe. Conflicts become notes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from daemon.config import Optics
from ptychopinn.detector.geometry import object_pixel_size_m
from streams.frame import NO_GEOMETRY, StreamGeometry

CONFLICT = 0.01
"""Relative difference of two values that is reported; control systems round less."""


@dataclass(frozen=True, slots=True)
class ScanOptics:
    """Optics of one scan, ``None`` if unknown; ``notes`` are conflicts and gaps, one sentence each."""

    photon_energy_eV: float | None  # noqa: N815
    detector_distance_m: float | None
    detector_pixel_size_m: float | None
    object_pixel_size_m: float | None
    notes: tuple[str, ...] = ()


def scan_optics(
    configured: Optics, side_px: int, probe_pixel_size_m: float | None, geometry: StreamGeometry = NO_GEOMETRY
) -> ScanOptics:
    """Return the optics of a scan whose header states ``geometry``.

    Parameters
    ----------
    side_px
        Side of the pattern in pixels of the detector.
    probe_pixel_size_m
        Of the probe's file, if it states one.
    """
    detector_m = geometry.detector_pixel_size_m
    notes = _oblong_note(detector_m)
    energy_eV = _chosen(notes, "photon_energy_eV", configured.photon_energy_eV, geometry.photon_energy_eV, _eV)
    distance_m = _chosen(notes, "detector_distance_m", configured.detector_distance_m, geometry.detector_distance_m, _m)
    pixel_m = _chosen(
        notes, "detector_pixel_size_m", configured.detector_pixel_size_m, detector_m[0] if detector_m else None, _um
    )
    computed_m = None
    if energy_eV is not None and distance_m is not None and pixel_m is not None:
        computed_m = object_pixel_size_m(energy_eV, distance_m, pixel_m, side_px)
    object_m = _chosen(notes, "object_pixel_size_m", configured.object_pixel_size_m, computed_m, _nm)
    if object_m is None:
        object_m = probe_pixel_size_m
    elif probe_pixel_size_m is not None and _differ(object_m, probe_pixel_size_m):
        notes.append(
            f"the probe has pixels of {_nm(probe_pixel_size_m)} but the optics give {_nm(object_m)}; correct [optics], or "
            "use a probe of this geometry"
        )
    if object_m is None:
        notes.append(
            "the object pixel is unknown: neither [optics], nor the stream's header, nor the probe's file states it, "
            "so the frames are refused; give [optics] object_pixel_size_m"
        )
    return ScanOptics(energy_eV, distance_m, pixel_m, object_m, tuple(notes))


def _oblong_note(detector_m: tuple[float, float] | None) -> list[str]:
    if detector_m is None or not _differ(*detector_m):
        return []
    height_um, width_um = (side * 1e6 for side in detector_m)
    return [
        f"the stream states detector pixels of {height_um:.4g} x {width_um:.4g} um, which are not square; "
        "their height is used for both sides"
    ]


def _chosen(
    notes: list[str], key: str, ours: float | None, theirs: float | None, words: Callable[[float], str]
) -> float | None:
    if ours is not None and theirs is not None and _differ(ours, theirs):
        source = "the optics of the stream give" if key == "object_pixel_size_m" else "the stream says"
        notes.append(
            f"{source} {key} {words(theirs)}, [optics] {words(ours)}; the latter is used; correct the wrong one"
        )
    return theirs if ours is None else ours


def _differ(one: float, other: float) -> bool:
    return abs(one / other - 1) > CONFLICT


def _eV(value: float) -> str:  # noqa: N802
    return f"{value:.6g} eV"


def _m(value: float) -> str:
    return f"{value:.5g} m"


def _um(value: float) -> str:
    return f"{value * 1e6:.5g} um"


def _nm(value: float) -> str:
    return f"{value * 1e9:.3f} nm"
