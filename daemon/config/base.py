"""Types that several sections of the configuration share."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from streams.sockets.keys import CurveKeys, KeyFiles, read_keys

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
_ENDPOINT = re.compile(r"@?(tcp://[^\s/]+:(\d{1,5}|\*)|ipc://.+)|pva://\S+")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_endpoint(text: str) -> bool:
    """Whether a text has the form of a stream's address."""
    return _ENDPOINT.fullmatch(text) is not None


def _checked_endpoint(endpoint: str) -> str:
    if not is_endpoint(endpoint):
        raise ValueError(f"'{endpoint}' is not a valid endpoint. Example: tcp://127.0.0.1:9999 or ipc:///run/stream")
    return endpoint


Endpoint = Annotated[str, AfterValidator(_checked_endpoint)]


class Section(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Encrypted(Section):
    """Files with the CURVE keys of a socket. The end that binds is the server; the end that connects is a client."""

    curve_public_file: Path | None = Field(None, description="This end's public CURVE key.")
    curve_secret_file: Path | None = Field(
        None, description="This end's secret CURVE key; other users must not be able to read it."
    )
    curve_server_file: Path | None = Field(None, description="If this end connects: the other end's public key.")
    curve_allowed_file: Path | None = Field(
        None, description="If this end binds: file or directory with the public keys of admitted clients."
    )

    @property
    def has_keys(self) -> bool:
        """Whether any key file is given."""
        return any(getattr(self, name) is not None for name in Encrypted.model_fields)

    def curve(self, where: str, *, is_server: bool) -> CurveKeys | None:
        """Read and return the keys. Raises :class:`streams.errors.KeyFileError`, which names the section ``where``."""
        files = KeyFiles(
            self.curve_public_file, self.curve_secret_file, self.curve_server_file, self.curve_allowed_file
        )
        return read_keys(files, is_server, where)
