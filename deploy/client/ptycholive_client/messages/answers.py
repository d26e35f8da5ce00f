"""Further answers of the REST interface."""

from collections.abc import Sequence
from typing import Literal

from ptycholive_client.messages.typed import TypedDict


class Addresses(TypedDict):
    """Where a running daemon can be reached; ``serve --json`` prints it."""

    http: str
    """URL of the viewer page."""
    updates: str
    """Endpoint of the updates for viewers."""
    streams: dict[str, str]
    """Endpoint of each input stream by name."""


class Readiness(TypedDict):
    """Whether frames would be reconstructed now, and the state of each part."""

    ready: bool
    """Whether frames would be reconstructed now."""
    subscribed: bool
    """Whether every receiver runs."""
    warm: bool
    """Whether the model has run once."""
    engine: bool
    """Whether the engine runs."""
    output: bool
    """Whether the output directory can be written."""
    stopping: bool
    """Whether the daemon stops."""
    dead: list[str]
    """Threads that have ended."""
    hanging: list[str]
    """Threads that do not respond."""
    degraded: list[str]
    """Lasting faults, worst first, one sentence each."""


class ModelEntry(TypedDict):
    """A model that can be activated by its name."""

    name: str
    """Name of the model."""
    sha256: str | None
    """SHA-256 of the weights; null: the model has none."""
    active: bool
    """Whether the model is active."""
    generation: int | None
    """Generation, if the model is active."""


class Alive(TypedDict):
    """Answer of a running process."""

    status: Literal["ok"]
    """Always ok."""


class Paused(TypedDict):
    """Whether fine-tuning is paused."""

    paused: bool
    """Whether fine-tuning is paused."""


class Stopping(TypedDict):
    """A scan that finishes with the frames received so far."""

    id: str
    """Id of the scan."""
    stopping: bool
    """Always true."""


class ScanPath(TypedDict):
    """Part of the path of the beam."""

    scan_id: str
    """Id of the scan."""
    after: int
    """Number of positions before the first one here."""
    positions_px: Sequence[Sequence[float]]
    """Positions [y, x] in pixels of the object's own frame."""


class DemoFaultFields(TypedDict):
    """A button of the demo's page."""

    name: str
    """Name in the route that orders it."""
    title: str
    """Text of the button."""
    about: str
    """What is wrong with the next scan, in words."""


class DemoOrder(TypedDict):
    """The fault that was ordered."""

    ordered: str
    """Name of the fault."""
