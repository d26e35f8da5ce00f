"""The wizard of the page: listens to a detector's stream and makes a checked configuration of it and of a person's answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, Protocol, TypeVar

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, Field, StringConstraints

from daemon.errors import DaemonError, RefusedError
from daemon.publish.http.answers import NOT_NOW
from ptychopinn.errors import ReconstructionError
from streams.errors import StreamError

Answer = TypeVar("Answer")
Text = Annotated[str, StringConstraints(max_length=1024)]
LONGEST_WAIT_S = 30.0
"""Longest time to listen for one request, s: it holds one of the server's threads."""


class StreamChoice(BaseModel):
    """A stream to listen to."""

    endpoint: Text = Field(description="Address of the frame stream, as in [frames] endpoint.")
    socket: Literal["pull", "sub"] | None = Field(None, description="None: both are tried.")
    format: Text | None = Field(None, description="None: found from the messages.")
    wait_s: float = Field(10.0, ge=0.1, le=LONGEST_WAIT_S, description="Longest time to wait for the first message, s.")


class AttachAnswers(BaseModel):
    """Answers as text, with a unit or in the usual one; one that is not given is taken from the stream where it tells it."""

    energy: Text | None = Field(None, description="keV.")
    distance: Text | None = Field(None, description="Sample to detector, mm.")
    pixel: Text | None = Field(None, description="Side of a detector pixel, um.")
    probe: Text | None = Field(None, description="Path of a file on the daemon's machine.")
    zone_plate: Text | None = Field(
        None, description="Outermost zone width nm, diameter um[, central stop um[, defocus um]]."
    )
    pinhole: Text | None = Field(None, description="Diameter um[, distance to the sample mm].")
    size: Text | None = Field(None, description="Side of the pattern, detector pixels.")
    orientation: Text | None = None
    center: Text | None = Field(None, description="ROW,COLUMN or auto.")
    positions: Text | None = Field(None, description="Source of the positions, as in [positions] source.")
    positions_endpoint: Text | None = None
    positions_file: Text | None = Field(None, description="Path on the daemon's machine.")
    channels: Text | None = Field(None, description="Y,X.")
    shape: Text | None = Field(None, description="Raster: ROWSxCOLUMNS; spiral: number of positions.")
    step: Text | None = Field(None, description="Steps in y and x, um.")
    save: bool = Field(False, description="Write the file into the output folder of the daemon too.")


class AttachChoices(BaseModel):
    """The names that the answers choose from."""

    formats: list[str]
    probes: list[str]
    positions: list[str]
    orientations: list[str]


class HeardFields(BaseModel):
    """A stream that was heard."""

    endpoint: str
    socket: str
    format: str
    shape: list[int]
    dtype: str
    rate_hz: float | None
    frames: int
    counts: float = Field(description="Mean counts of a frame.")
    has_positions: bool
    energy_kev: float | None = Field(description="From the header; null if the header does not state it.")
    distance_mm: float | None
    pixel_um: float | None
    pattern: str = Field(description="Mean frame, logarithmic, as a data URL.")


class MadeFields(BaseModel):
    """A configuration that the daemon would start with."""

    toml: str
    notes: list[str]
    orientation: str
    center_px: list[int] | None = Field(description="In the oriented frame; null: found by the daemon.")
    size_px: int
    shape: list[int] = Field(description="Of the oriented frame.")
    pattern: str = Field(description="Mean frame in that orientation, as a data URL.")
    saved: str | None = Field(description="Path on the daemon's machine.")


class Attacher(Protocol):
    """Makes configurations; every call may come from any thread."""

    def choices(self) -> AttachChoices:
        """Return the names that the answers choose from."""

    def listen(self, choice: StreamChoice) -> HeardFields:
        """Listen, and keep what was heard; raises RefusedError where it cannot now, DaemonError or StreamError."""

    def make(self, answers: AttachAnswers) -> MadeFields:
        """Return the configuration for the stream heard last; raises as `listen` does."""


class NoAttacher:
    """Without a daemon nobody listens."""

    def choices(self) -> AttachChoices:
        """Return no names."""
        return AttachChoices(formats=[], probes=[], positions=[], orientations=[])

    def listen(self, choice: StreamChoice) -> HeardFields:
        """Refuse."""
        raise RefusedError("this server listens to no stream")

    def make(self, answers: AttachAnswers) -> MadeFields:
        """Refuse."""
        raise RefusedError("this server makes no configuration")


def attach_router(attacher: Attacher) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["attach"], responses=NOT_NOW)

    @router.get("/attach", summary="Names for the wizard of the page", response_model=AttachChoices)
    def choices() -> AttachChoices:
        return attacher.choices()

    @router.post("/attach/stream", summary="Listen to a detector's stream", response_model=HeardFields)
    def listen(choice: StreamChoice) -> HeardFields:
        """422 with a sentence if nothing comes or no format reads it; 409 while another request listens."""
        return _answered(lambda: attacher.listen(choice))

    @router.post("/attach/configuration", summary="Make and check a configuration", response_model=MadeFields)
    def make(answers: AttachAnswers) -> MadeFields:
        """For the stream heard last; 422 with a sentence if an answer is wrong, 409 before a stream was heard."""
        return _answered(lambda: attacher.make(answers))

    return router


def _answered(ask: Callable[[], Answer]) -> Answer:
    try:
        return ask()
    except RefusedError as fault:
        raise HTTPException(409, str(fault)) from fault
    except (DaemonError, StreamError, ReconstructionError) as fault:
        raise HTTPException(422, str(fault)) from fault
