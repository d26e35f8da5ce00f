"""Section on the Ray cluster of a live scan."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, model_validator

from daemon.config.base import Section

_ADDRESS = re.compile(r"|auto|local|ray://\S+")


class ClusterOptions(Section):
    """Live scans on several devices."""

    address: str = Field(
        "",
        description="Ray cluster: local (processes on this machine), auto (this machine's cluster) or ray://HOST:PORT.",
    )
    workers: Annotated[int, Field(ge=0, le=256)] = Field(
        0, description="Number of engines that share a scan; 0: one engine in the daemon's process, without Ray."
    )
    gpus_per_worker: Annotated[float, Field(ge=0, le=16)] | None = Field(
        None,
        description="GPUs of each worker, also a fraction. Default: 1 if the cluster has one for each worker, else 0.",
    )

    @property
    def is_on(self) -> bool:
        """Whether workers are used."""
        return self.workers > 0

    @model_validator(mode="after")
    def _has_an_address(self) -> ClusterOptions:
        if not _ADDRESS.fullmatch(self.address):
            raise ValueError(f"address '{self.address}' is not a cluster; give local, auto, or ray://HOST:PORT")
        if self.is_on and not self.address:
            raise ValueError(
                f'workers = {self.workers} requires an address; give "local", "auto", or "ray://HOST:PORT"'
            )
        return self
