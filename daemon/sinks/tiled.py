"""Finished scans in a Tiled catalogue: one container for each scan, with searchable metadata and the product's arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import httpx
from pydantic import Field, field_validator
from tiled.client import from_uri
from tiled.client.utils import ClientError

from daemon.config import Section
from daemon.errors import ConfigError
from daemon.files import Product, read_product
from daemon.sinks.base import Sink

SPEC = "ptycholive-product"
CONFLICT = 409
"""HTTP status of a name that is taken."""
MAX_SAME_NAME = 100
"""Numbers that are tried behind the name of a scan."""


class TiledOptions(Section):
    """Options of the sink ``tiled``."""

    uri: str = Field(
        pattern=r"^https?://\S+$", description="The server, or a container of it: http://tiled:8000/api/v1."
    )
    api_key_file: Path | None = Field(None, description="File whose first line is the API key.")
    timeout_s: Annotated[float, Field(gt=0)] = Field(30.0, description="Longest wait for an answer, s.")

    @field_validator("api_key_file")
    @classmethod
    def _is_there(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_file():
            raise ValueError(f"there is no file {path}")
        return path


class TiledSink(Sink):
    """Writes each product when it is on disk; a number is added to a scan's name if it is taken there."""

    wants_pictures = False

    def __init__(self, options: TiledOptions) -> None:
        self._options = options
        self._key = None if options.api_key_file is None else _first_line(options.api_key_file)
        self._catalogue: Any = None
        self._unfinished = ("", "")
        """The scan whose product was begun last and is not whole, and the name of its container."""

    def open(self) -> None:
        """Connect."""
        options = self._options
        wait = httpx.Timeout(options.timeout_s)
        self._catalogue = from_uri(
            options.uri, api_key=self._key, timeout=wait, prompt_for_reauthentication=False, show_progress=False
        )

    def take_product(self, scan_id: str, path: Path) -> None:
        """Write a product; the rest of an earlier try is deleted first."""
        product = read_product(path)
        begun, left = self._unfinished
        if begun == scan_id:
            self._catalogue[left].delete(recursive=True, external_only=False)
        key, container = self._new_container(scan_id, _metadata(product, path))
        self._unfinished = scan_id, key
        about = {"pixel_size_m": product.pixel_size_m, "origin_px": [float(v) for v in product.object_origin_px]}
        container.write_array(product.object, key="object", metadata=about, dims=("y", "x"))
        container.write_array(product.probe, key="probe", metadata={"pixel_size_m": product.pixel_size_m})
        container.write_array(product.positions_m, key="positions_m", metadata={"order": "y, x"})
        container.write_array(product.indexes, key="frame_indexes")
        if product.live is not None and product.live.network is not None:
            about = {"origin_px": [float(v) for v in product.live.network_origin_px]}
            container.write_array(product.live.network, key="network", metadata=about, dims=("y", "x"))
        container.update_metadata({"complete": True})
        self._unfinished = "", ""

    def _new_container(self, scan_id: str, metadata: dict[str, object]) -> tuple[str, Any]:
        for number in range(1, MAX_SAME_NAME + 1):
            key = scan_id if number == 1 else f"{scan_id}-{number}"
            try:
                return key, self._catalogue.create_container(key=key, metadata=metadata, specs=[SPEC])
            except ClientError as fault:
                if fault.response.status_code != CONFLICT:
                    raise
        raise ConfigError(
            f"{self._options.uri} has {MAX_SAME_NAME} scans named {scan_id} already; delete some or use another container"
        )

    def close(self) -> None:
        """Close the connection."""
        if self._catalogue is not None:
            self._catalogue.context.close()


def open_sink(options: Mapping[str, Any]) -> Sink:
    """Return the sink; :class:`TiledOptions` lists the options."""
    return TiledSink(TiledOptions.model_validate(dict(options)))


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").split("\n", 1)[0].strip()
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(f"api_key_file {path} cannot be read ({fault})") from fault


def _metadata(product: Product, path: Path) -> dict[str, object]:
    metadata: dict[str, object] = {
        "scan_id": product.name,
        "comments": product.comments,
        "pixel_size_m": product.pixel_size_m,
        "photon_energy_eV": product.photon_energy_eV,
        "detector_distance_m": product.detector_distance_m,
        "product_file": str(path.resolve()),
        "complete": False,
    }
    live = product.live
    if live is not None:
        metadata |= {
            "started": live.started,
            "ended": live.ended,
            "verdict": dict(live.verdict),
            "rfactors": dict(live.rfactors),
            "model": {"name": live.model_name, "sha256": live.model_sha256, "generation": live.model_generation},
        }
    return metadata
