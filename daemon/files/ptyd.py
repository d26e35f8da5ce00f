"""ptypy's prepared data (``.ptyd``): ``meta`` and ``chunks``; energies in keV, positions (row, column) in m, weight 0 = bad."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from daemon.files.access import array_of, atomic_hdf5, positive, text_of
from daemon.files.doubts import doubt, wrong
from daemon.files.extras import GROUP, read_extras, write_extras
from daemon.files.links import broken_links, item_at
from daemon.files.near_field import NEAR_FIELD
from daemon.files.no_data import lost_pixels, with_frame_mask
from daemon.files.scan import ScanFile
from daemon.files.scan_parts import one_side
from daemon.files.shapes import frames_in_line, vectors
from daemon.files.units import length_m, photon_energy_ev
from ptychopinn.contract.no_data import in_any_frame
from ptychopinn.errors import FileFormatError


def is_ptyd(file: h5py.File) -> bool:
    """Whether the file has ptypy's two groups."""
    return isinstance(file.get("chunks"), h5py.Group) and isinstance(file.get("meta"), h5py.Group)


def read_ptyd(file: h5py.File, path: Path) -> ScanFile:
    """Return the scan of an open file, its chunks joined in order."""
    meta = file["meta"]
    if text_of(_meta(meta, "propagation")).strip() == "nearfield":
        raise FileFormatError(f"{path}: is a near-field scan; {NEAR_FIELD}")
    names = sorted((name for name in file["chunks"] if name.isdigit()), key=int)
    chunks = [item_at(file["chunks"], name) for name in names]
    present = [chunk for chunk in chunks if isinstance(chunk, h5py.Group)]
    if not present:
        gone = "; ".join(broken_links(file["chunks"])) or "keep the .part files beside it"
        raise FileFormatError(f"{path}: has no chunks of data; {gone}")
    counts = np.concatenate([frames_in_line(path, array_of(chunk, "data")).counts for chunk in present])
    counts, mask = _masked(meta, present, counts)
    sides = [positive(side) for side in np.ravel(_meta(meta, "psize"))[:2]]
    doubts = []
    if len(present) < len(chunks):
        gone = "; ".join(broken_links(file["chunks"]))
        doubts.append(wrong("missing", f"{len(chunks) - len(present)} of {len(chunks)} chunks are missing: {gone}"))
    expected = positive(_meta(meta, "num_frames"))
    if expected is not None and expected > len(counts):
        doubts.append(doubt("missing", f"{len(counts)} of {expected:.0f} frames exist"))
    found = ScanFile(
        name=_label(meta) or path.name.split(".")[0],
        counts=counts,
        indexes=_indexes(present, len(counts)),
        positions_m=np.concatenate([vectors(path, array_of(one, "positions"), "positions") for one in present])[:, :2],
        photon_energy_eV=photon_energy_ev(path, [_there(meta, "energy")], [_there(meta, "lam")], "keV", doubts),
        detector_distance_m=length_m(_there(meta, "distance"), path),
        detector_pixel_size_m=one_side(path, "detector", sides[-1], sides[0]) if sides else None,
        mask=mask,
        doubts=tuple(doubts),
    )
    extras = read_extras(file)
    extras.pop("indexes", None)  # the chunks have them
    return replace(found, **extras)


def write_ptyd(path: Path, scan: ScanFile) -> None:
    """Write ``scan`` as ptypy's own writer does, in one chunk, values with the type attributes that its reader requires.

    Raises
    ------
    FileFormatError
        If the scan lacks positions in metres or the optics.
    """
    positions_m = scan.positions_m
    optics = (scan.photon_energy_eV, scan.detector_distance_m, scan.detector_pixel_size_m)
    if positions_m is None or None in optics:
        raise FileFormatError(
            f"{path}: ptyd requires positions in metres, energy, distance and detector pixel; {scan.name} lacks some of them"
        )
    energy_eV, distance_m, pixel_m = (float(value) for value in optics if value is not None)
    rows, columns = scan.counts.shape[1:]
    meta = {
        "label": scan.name,
        "num_frames": len(scan.counts),
        "shape": np.array([rows, columns]),
        "energy": energy_eV / 1e3,
        "distance": distance_m,
        "psize": np.array([pixel_m, pixel_m]),
        "center": np.array([rows // 2, columns // 2], dtype=float),
        "propagation": "farfield",
    }
    if scan.mask is not None:
        meta["weight2d"] = (~scan.mask).astype(np.float32)
    with atomic_hdf5(path) as file:
        put_typed(file, "meta", meta)
        chunk = {"data": scan.counts, "indices": scan.indexes, "positions": positions_m}
        lost = lost_pixels(scan)
        if lost is not None:
            bad = lost if scan.mask is None else lost | scan.mask
            chunk |= {"data": np.where(lost, 0, scan.counts), "weights": (~bad).astype(np.float32)}
        put_typed(file, "chunks", {"0": chunk})
        write_extras(file.create_group(GROUP), scan, with_probe=True)


def put_typed(parent: h5py.Group, key: str, value: Any) -> None:
    """Write a map, an array, a number, a text or None with the attribute that ptypy's reader requires."""
    if isinstance(value, dict):
        group = parent.create_group(key)
        group.attrs["type"] = "dict"
        for name, part in value.items():
            put_typed(group, name, part)
        return
    if isinstance(value, np.ndarray):
        parent.create_dataset(key, data=value, compression="gzip")
        kind = "array"
    elif value is None:
        parent[key], kind = np.zeros(1), "None"
    else:
        parent[key], kind = value, "string" if isinstance(value, str) else "scalar"
    parent[key].attrs["type"] = kind


def _meta(meta: h5py.Group, key: str) -> Any:
    """Return a value of ``meta``, an empty array if it is missing or ptypy's None."""
    dataset = _there(meta, key)
    return np.zeros(0) if dataset is None else dataset[()]


def _there(meta: h5py.Group, key: str) -> h5py.Dataset | None:
    """Return the data set of a value; ``None`` if it is missing or is ptypy's None."""
    dataset = meta.get(key)
    is_there = isinstance(dataset, h5py.Dataset) and text_of(dataset.attrs.get("type")) != "None"
    return dataset if is_there else None


def _label(meta: h5py.Group) -> str:
    name = text_of(_meta(meta, "label"))
    return "" if name == "None" else name


def _indexes(chunks: list[h5py.Group], frames: int) -> NDArray[np.int64]:
    if all(isinstance(chunk.get("indices"), h5py.Dataset) for chunk in chunks):
        return np.concatenate([array_of(chunk, "indices") for chunk in chunks]).astype(np.int64)
    return np.arange(frames, dtype=np.int64)


def _masked(
    meta: h5py.Group, chunks: list[h5py.Group], counts: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return counts and mask: weight 0 in the common ``weight2d`` or in chunks, which may have one mask for all frames."""
    weights = [np.asarray(chunk["weights"][()]) if "weights" in chunk else np.zeros(0) for chunk in chunks]
    common = np.asarray(_meta(meta, "weight2d"))
    bad: NDArray[np.bool_] = common == 0 if common.shape == counts.shape[1:] else np.zeros(counts.shape[1:], bool)
    if sum(len(one) for one in weights if one.ndim == 3) == len(counts) > len(chunks):
        counts, always = with_frame_mask(counts, np.concatenate(weights) == 0)
        bad = bad | always
    else:
        shared = [in_any_frame(one == 0) for one in weights if one.shape[-2:] == bad.shape]
        bad = np.logical_or.reduce([bad, *shared])
    return counts, bad if bad.any() else None
