"""Sections on the output: viewers, page, log, files and sinks; bounds on memory and disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from daemon.config.base import Count, Encrypted, Endpoint, Positive, Section, is_loopback


class Publish(Encrypted):
    """Updates for viewers over ZeroMQ."""

    endpoint: Endpoint = Field("tcp://127.0.0.1:5556", description="Address to bind; port 0 selects a free port.")
    period_s: Positive = Field(0.1, description="Time between updates, s.")


class Http(Section):
    """Server for the page, the REST interface and the metrics."""

    host: str = Field("127.0.0.1", description="Address to bind; any other than loopback requires a token.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8080, description="Port; 0 selects a free port.")
    token_file: Path | None = Field(None, description="File whose first line is the bearer token.")
    certificate_file: Path | None = Field(None, description="PEM certificate chain; enables HTTPS.")
    key_file: Path | None = Field(None, description="PEM private key; not needed if the certificate file contains it.")
    hosts: list[str] = Field(
        [], description="Further host names under which the page is reached, for a proxy that authenticates users."
    )
    max_connections: Count = Field(
        256,
        description="Largest number of connections. A further one replaces the longest idle one or, if none is idle, is closed.",
    )
    max_viewers: Count = Field(
        64, description="Largest number of WebSocket viewers; further ones are refused with status 503."
    )
    viewer_bytes_per_s: Count = Field(
        20_000_000,
        description="Bandwidth for all WebSocket viewers together, bytes/s; above it each gets fewer updates.",
    )

    @model_validator(mode="after")
    def _has_a_token_off_loopback(self) -> Http:
        if self.token_file is None and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host} is reachable from other machines, which requires a token; give token_file"
            )
        if self.key_file is not None and self.certificate_file is None:
            raise ValueError("key_file requires certificate_file; give both or neither")
        return self


class Notify(Section):
    """Webhook that is told when the grade of a scan changes, and at the end of each scan."""

    url: SecretStr | None = Field(
        None, description="Address for JSON POST, http or https; it is not shown, because it may contain a token."
    )

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("the address does not start with http:// or https://")
        return url


class Log(Section):
    """Log on stderr, one line for each event."""

    format: Literal["text", "json"] = Field("text", description="text for reading, json for programs.")
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level to write.")


class SinkOptions(Section):
    """Plug-in that sends pictures or results to another system."""

    kind: str = Field(description="Name of the plug-in: pva, tiled, or one of an installed package.")
    layer: Literal["refined", "network"] = Field(
        "refined", description="Layer of the pictures; the other layer is sent until this one exists."
    )
    period_s: Positive = Field(1.0, description="Shortest time between pictures, s.")
    options: dict[str, object] = Field({}, description="Options of the plug-in.")


class Output(Section):
    """Files that the daemon writes."""

    directory: Path = Field(Path("out"), description="Folder for results: DIRECTORY/SCAN_ID/product.h5.")
    journal: Literal["off"] | Path | None = Field(
        None,
        description="Folder of the journal, from which a killed daemon resumes; off: no journal. Default: DIRECTORY/journal.",
    )
    checkpoint_s: Positive = Field(10.0, description="Time between checkpoint products during a scan, s.")
    keep_checkpoints: Count = Field(
        2, description="Number of checkpoints kept during a scan; none are kept after its end."
    )
    sinks: list[SinkOptions] = Field([], description="Plug-ins that send pictures and results elsewhere.")


class Limits(Section):
    """Bounds on memory, disk and time."""

    queue_bytes: Count = Field(
        256 << 20, description="Size of the queue before the decoders and of the queue before the engine, bytes each."
    )
    canvas_bytes: Annotated[int, Field(ge=1 << 20)] = Field(
        4 << 30,
        description="Memory for each layer of an open scan, bytes. Parts of a larger mosaic that no frame has touched lately lie "
        "in a file in the folder for results.",
    )
    pending_bytes: Count = Field(1 << 30, description="Memory for frames that wait for positions, bytes.")
    pending_s: Positive = Field(600.0, description="Longest time that a frame waits for its position, s.")
    open_scans: Count = Field(4, description="Largest number of open scans; beyond it the oldest is closed.")
    journal_bytes: Count = Field(
        16 << 30, description="Largest size of the journal on disk, bytes; finished scans are deleted first."
    )
    stop_s: Positive = Field(
        20.0, description="Longest time to process waiting frames after the daemon is told to stop, s."
    )
    decode_workers: Count = Field(2, description="Number of decoder threads.")
