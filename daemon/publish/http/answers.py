"""What the REST interface answers with: pictures, arrays, files, and sentences about what is wrong."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from fastapi.responses import FileResponse, Response
from numpy.typing import NDArray
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send


class Problem(BaseModel):
    """What is wrong with a request, in one sentence."""

    detail: str


def problems(words: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """Return refusals by status, as OpenAPI is told of them."""
    return {status: {"description": text, "model": Problem} for status, text in words.items()}


PROBLEMS = problems(
    {
        400: "The body is not what its headers say.",
        401: "Without the token, where one is needed.",
        403: "From a page of another origin, or by a foreign name of this machine.",
        413: "Too long a body.",
        422: "A parameter or the body is not valid.",
        431: "Too many headers.",
    }
)
NOT_KNOWN = problems({404: "There is no such scan, model or picture."})
NOT_NOW = problems({409: "The scan does not run."})
BUSY = problems({503: "Too many pictures are asked for at once."})


class Png(Response):
    """A picture for people."""

    media_type = "image/png"


class Binary(Response):
    """Bytes."""

    media_type = "application/octet-stream"


class Npy(Binary):
    """An array, sent in pieces, so that a slow receiver does not make the server hold a second copy of it.

    Parameters
    ----------
    array
        (H, W), C order.
    """

    piece_bytes = 1 << 20

    def __init__(self, array: NDArray[np.generic], headers: dict[str, str]) -> None:
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(array))
        self._head = head.getvalue()
        self._bytes = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        super().__init__(headers={**headers, "Content-Length": str(len(self._head) + self._bytes.size)})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the array."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self._head, "more_body": True})
        for start in range(0, self._bytes.size, self.piece_bytes):
            piece = self._bytes[start : start + self.piece_bytes].tobytes()
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


class Hdf5(FileResponse):
    """A product file."""

    media_type = "application/x-hdf5"
