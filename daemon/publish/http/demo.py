"""The buttons of a demo's page. The demo and its daemon are two processes that share a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter, HTTPException, Response
from fastapi.responses import JSONResponse

from daemon.messages import DemoFaultFields, DemoOrder
from daemon.publish.http.answers import NOT_KNOWN

FOLDER_VARIABLE = "PTYCHOLIVE_DEMO"
"""Environment variable with the folder; only ``ptycholive demo`` sets it."""
FAULTS_FILE, ORDER_FILE = "faults.json", "order"


def demo_folder(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the folder of the demo that this daemon belongs to, if it belongs to one."""
    name = environment.get(FOLDER_VARIABLE)
    return None if name is None else Path(name)


def demo_router(folder: Path | None) -> APIRouter:
    """Return the routes; a daemon that is not a demo's offers no button."""
    router = APIRouter(tags=["demo"])
    offered: list[DemoFaultFields] = [] if folder is None else json.loads((folder / FAULTS_FILE).read_text("utf-8"))

    @router.get("/demo", summary="Buttons of a demo that break the next scan", response_model=list[DemoFaultFields])
    def faults() -> Response:
        """An empty list, except in `ptycholive demo`."""
        return JSONResponse(offered)

    @router.post(
        "/demo/{name}",
        summary="Break the next scan of a demo",
        status_code=202,
        response_model=DemoOrder,
        responses=NOT_KNOWN,
    )
    def order(name: str) -> Response:
        """The demo starts that scan at once, or after the one that runs."""
        if folder is None or name not in [fault["name"] for fault in offered]:
            raise HTTPException(404, f"this daemon has no fault {name[:40]!r}; GET demo lists those of a demo")
        draft = folder / f"{ORDER_FILE}.new"
        draft.write_text(name, encoding="utf-8")
        draft.replace(folder / ORDER_FILE)
        answer: DemoOrder = {"ordered": name}
        return JSONResponse(answer, status_code=202)

    return router
