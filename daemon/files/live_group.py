"""The group ``live`` of a product: data of the live reconstruction that ptychodus does not read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from daemon.files.access import text_of


@dataclass(frozen=True, slots=True, eq=False)
class LiveGroup:
    """Data of the live reconstruction besides the product's object.

    ``network`` ``(H, W)`` complex64 and its ``network_weight`` float32 with their own origin, ``None`` if no network was
    used; ``refined_weight`` of the object's shape where the object is the refined layer. ``position_corrections_m``
    ``(n, 2)`` [y, x] were added to the measured positions, in the product's order; ``None`` if positions are not
    corrected. ``measured_position_m`` ``(n, 2)`` [y, x] are the measured positions where they were corrected.
    ``verdict`` maps expected, received, duplicate, ... to counts (``None``: unknown) and ``refused`` to a map of
    reasons. ``started`` and ``ended`` are ISO times, ``configuration`` is text; ``doubts`` is one line about the picture,
    possibly empty.
    ``masked_pixels`` of the detector hold no data in any frame (``None``: unknown).
    ``frc`` ``(n, 2)`` is the Fourier ring correlation of two halves of the frames: spatial frequency, 1/m, and correlation;
    ``frc_nm`` the resolution where it falls below the line ``frc_criterion`` (``None``: unknown).
    ``certainty`` has the numbers of :class:`ptychopinn.refine.certainty.Certainty`, if known.
    """

    network: NDArray[np.complex64] | None = None
    network_weight: NDArray[np.float32] | None = None
    network_origin_px: tuple[float, float] = (0.0, 0.0)
    refined_weight: NDArray[np.float32] | None = None
    verdict: Mapping[str, Any] = field(default_factory=dict)
    rfactors: Mapping[str, float] = field(default_factory=dict)
    certainty: Mapping[str, float] = field(default_factory=dict)
    configuration: str = ""
    model_name: str = ""
    model_sha256: str = ""
    model_generation: int = 0
    started: str = ""
    ended: str = ""
    position_corrections_m: NDArray[np.float64] | None = None
    measured_position_m: NDArray[np.float64] | None = None
    doubts: str = ""
    masked_pixels: int | None = None
    frc_nm: float | None = None
    frc: NDArray[np.float64] | None = None
    frc_criterion: str = ""


def write_live(group: h5py.Group, live: LiveGroup) -> None:
    """Write ``live`` into an empty group, arrays with gzip level 1 and shuffle."""
    packed: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    arrays = {"network": live.network, "network_weight": live.network_weight, "refined_weight": live.refined_weight}
    for key, array in arrays.items():
        if array is not None:
            group.create_dataset(key, data=array, **(packed if array.size else {}))
    if live.position_corrections_m is not None:
        group["position_corrections_m"] = live.position_corrections_m
    if live.measured_position_m is not None:
        group["measured_position_m"] = live.measured_position_m
    if live.frc is not None:
        group["frc"] = live.frc
        group["frc"].attrs["criterion"] = live.frc_criterion
    if live.frc_nm is not None:
        group["frc_nm"] = live.frc_nm
    if live.network is not None:
        group["network"].attrs["origin_px"] = np.array(live.network_origin_px, dtype=np.float64)
    group["configuration"] = live.configuration
    for key in ("model_name", "model_sha256", "model_generation", "started", "ended"):
        group.attrs[key] = getattr(live, key)
    if live.doubts:
        group.attrs["doubts"] = live.doubts
    if live.masked_pixels is not None:
        group.attrs["masked_pixels"] = live.masked_pixels
    group.create_group("rfactors").attrs.update(live.rfactors)
    group.create_group("certainty").attrs.update(live.certainty)
    verdict = group.create_group("verdict")
    verdict.create_group("refused").attrs.update(live.verdict.get("refused", {}))
    for key, value in live.verdict.items():
        if key != "refused":
            verdict.attrs[key] = h5py.Empty("i8") if value is None else value


def read_live(group: h5py.Group) -> LiveGroup:
    """Return what :func:`write_live` wrote."""
    verdict = {k: None if isinstance(v, h5py.Empty) else _plain(v) for k, v in group["verdict"].attrs.items()}
    return LiveGroup(
        network=_array(group, "network"),
        network_weight=_array(group, "network_weight"),
        network_origin_px=origin_pair(group["network"].attrs["origin_px"]) if "network" in group else (0.0, 0.0),
        refined_weight=_array(group, "refined_weight"),
        verdict={**verdict, "refused": {k: int(v) for k, v in group["verdict/refused"].attrs.items()}},
        rfactors={k: float(v) for k, v in group["rfactors"].attrs.items()},
        certainty={k: float(v) for k, v in group["certainty"].attrs.items()} if "certainty" in group else {},
        configuration=text_of(group["configuration"]),
        model_name=text_of(group.attrs["model_name"]),
        model_sha256=text_of(group.attrs["model_sha256"]),
        model_generation=int(group.attrs["model_generation"]),
        started=text_of(group.attrs["started"]),
        ended=text_of(group.attrs["ended"]),
        position_corrections_m=_array(group, "position_corrections_m"),
        measured_position_m=_array(group, "measured_position_m"),
        doubts=text_of(group.attrs["doubts"]) if "doubts" in group.attrs else "",
        frc_nm=float(group["frc_nm"][()]) if "frc_nm" in group else None,
        frc=_array(group, "frc"),
        frc_criterion=text_of(group["frc"].attrs.get("criterion")) if "frc" in group else "",
        masked_pixels=int(group.attrs["masked_pixels"]) if "masked_pixels" in group.attrs else None,
    )


def _array(group: h5py.Group, key: str) -> NDArray[Any] | None:
    return np.asarray(group[key][()]) if key in group else None


def origin_pair(value: NDArray[np.float64]) -> tuple[float, float]:
    """Return an origin (y, x) as stored in an attribute."""
    return float(value[0]), float(value[1])


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
