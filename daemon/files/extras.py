"""The group ``ptycholive`` of a scan's file: data for which the format has no place; other programs skip it."""

from __future__ import annotations

from typing import TypedDict

import h5py
import numpy as np
from numpy.typing import NDArray

from daemon.files.access import number_of
from daemon.files.live_group import origin_pair
from daemon.files.scan import ScanFile

GROUP = "ptycholive"


class ScanExtras(TypedDict, total=False):
    """Fields of a :class:`ScanFile` that the group holds."""

    indexes: NDArray[np.int64]
    object: NDArray[np.complex64]
    object_origin_px: tuple[float, float]
    probe: NDArray[np.complex64]
    object_pixel_size_m: float


def write_extras(group: h5py.Group, scan: ScanFile, *, with_probe: bool) -> None:
    """Write frame indexes, object and object pixel into an empty group; the probe if the format has no place for it."""
    group["frame_index"] = scan.indexes
    if scan.object_pixel_size_m is not None:
        group["object_pixel_size_m"] = scan.object_pixel_size_m
    if scan.object is not None:
        group["object"] = scan.object
        group["object"].attrs["origin_px"] = np.array(scan.object_origin_px)
    if with_probe and scan.probe is not None:
        group["probe"] = scan.probe


def read_extras(parent: h5py.Group, name: str = GROUP) -> ScanExtras:
    """Return what :func:`write_extras` wrote, as fields of a :class:`ScanFile`; empty if there is nothing."""
    group = parent.get(name)
    if not isinstance(group, h5py.Group):
        return {}
    found: ScanExtras = {}
    if "frame_index" in group:
        found["indexes"] = group["frame_index"][()].astype(np.int64)
    if "object" in group:
        found["object"] = group["object"][()].astype(np.complex64)
        found["object_origin_px"] = origin_pair(group["object"].attrs["origin_px"])
    if "probe" in group:
        found["probe"] = group["probe"][()].astype(np.complex64)
    size_m = number_of(group, "object_pixel_size_m")
    if size_m is not None:
        found["object_pixel_size_m"] = size_m
    return found
