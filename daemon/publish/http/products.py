"""The product file of a scan, whole or cut to a fixed box."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from fastapi import APIRouter, HTTPException, Response

from daemon.files.boxed_product import boxed_product
from daemon.files.product import write_product
from daemon.publish.http.answers import BUSY, NOT_KNOWN, Hdf5
from daemon.publish.http.box import BoxQuery, box_um
from daemon.publish.http.past import product_of


def products_router(product_path: Callable[[str], Path | None], scan_of: Callable[[str], str]) -> APIRouter:
    """Return the route; ``product_path`` gives the file of a scan, ``scan_of`` the scan of an id such as "latest"."""
    router = APIRouter(tags=["scans"], responses={**NOT_KNOWN, **BUSY})

    @router.get("/scans/{id}/product.h5", summary="The product file", response_class=Hdf5)
    def product(id: str, box: BoxQuery = None) -> Response:
        """404 until it is written."""
        scan_id = scan_of(id)
        path = product_path(scan_id)
        if path is None or not path.is_file():
            raise HTTPException(
                404, f"the product of scan {scan_id} is not written yet; try again when the scan has ended"
            )
        if box is None:
            return Hdf5(path, filename=f"{scan_id}.h5")
        return Response(_cut(path, box), media_type=Hdf5.media_type)

    return router


def _cut(path: Path, box: str) -> bytes:
    """Return a file with the part of a product in a box."""
    whole = product_of(path)
    if whole is None:
        raise HTTPException(404, f"{path} is gone")
    try:
        part = boxed_product(whole, box_um(box))
    except ValueError as fault:
        raise HTTPException(422, str(fault)) from fault
    with tempfile.TemporaryDirectory(prefix="ptycholive-") as folder:
        file = Path(folder) / "product.h5"
        write_product(file, part)
        return file.read_bytes()
