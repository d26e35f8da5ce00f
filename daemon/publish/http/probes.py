"""Routes about the probe of a scan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, Protocol

import numpy as np
from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from numpy.typing import NDArray

from daemon.errors import NotHeldError
from daemon.messages import ProbeFields
from daemon.publish.http.answers import BUSY, NOT_KNOWN, Binary, Npy
from daemon.publish.http.frames import held
from daemon.publish.wire import plain

MOST_DISTANCE_M = 100.0
"""Longest propagation that is asked for: longer than any beamline's hutch."""

Which = Annotated[
    Literal["now", "given", "difference"],
    Query(description="now: of the newest picture. given: at the start of a scan. difference: now minus given."),
]
Distance = Annotated[
    float,
    Query(ge=-MOST_DISTANCE_M, le=MOST_DISTANCE_M, description="Distance from the sample, m; positive downstream."),
]


class ProbeSource(Protocol):
    """Probes of scans; raises :class:`NotHeldError`, with a sentence, for what is not held. Safe from any thread."""

    def probe(self, scan_id: str) -> ProbeFields:
        """Description of the probe."""

    def waves(
        self, scan_id: str, which: Literal["now", "given", "difference"], distance_m: float
    ) -> NDArray[np.complex64]:
        """Modes (modes, N, N) at a distance along the beam."""


def probes_router(probes: ProbeSource, scan_of: Callable[[str], str]) -> APIRouter:
    """Return the routes; ``scan_of`` gives the scan of an id such as "latest", or raises 404."""
    router = APIRouter(tags=["frames"], responses={**NOT_KNOWN, **BUSY})

    @router.get("/scans/{id}/probe", summary="The probe: modes, pixel, wavelength", response_model=ProbeFields)
    def probe(id: str) -> Response:
        scan_id = scan_of(id)
        return JSONResponse(plain(held(lambda: probes.probe(scan_id))))

    @router.get("/scans/{id}/probe.npy", summary="The modes of the probe as complex64 NPY", response_class=Binary)
    def waves(id: str, which: Which = "now", distance_m: Distance = 0.0) -> Response:
        """(modes, N, N), at a distance from the sample (paraxial propagation). 404 where wavelength or pixel size is unknown."""
        scan_id = scan_of(id)
        return Npy(held(lambda: probes.waves(scan_id, which, distance_m)), {})

    return router


class NoProbes:
    """Without a daemon behind it no probe is held."""

    def probe(self, scan_id: str) -> ProbeFields:
        """Raise :class:`NotHeldError`."""
        raise NotHeldError(f"the probe of scan {scan_id} is not held here")

    def waves(
        self, scan_id: str, which: Literal["now", "given", "difference"], distance_m: float
    ) -> NDArray[np.complex64]:
        """Raise :class:`NotHeldError`."""
        raise NotHeldError(f"the probe of scan {scan_id} is not held here")
