"""Answers of the REST interface: pictures, arrays, files, and refusals in one sentence."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from fastapi.responses import FileResponse, Response
from numpy.typing import NDArray
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send


class Problem(BaseModel):
    """A refusal in one sentence: what is wrong with the request, and what to do."""

    detail: str


Responses = dict[int | str, dict[str, object]]
"""As FastAPI takes them."""


def problems(words: Mapping[int, str]) -> Responses:
    """Return refusals by status for OpenAPI."""
    content = {
        "application/json": {"schema": Problem.model_json_schema()}
    }  # a model would get the media type of the route
    return {status: {"description": text, "content": content} for status, text in words.items()}


PROBLEMS = problems(
    {
        400: "The body does not match its headers.",
        401: "The token is missing or wrong.",
        403: "The request comes from a page of another origin, or uses a host name that is not allowed.",
        413: "The body is too long.",
        422: "A parameter or the body is not valid.",
        431: "Too many headers.",
    }
)
NOT_KNOWN = problems({404: "There is no such scan, model or picture."})
NOT_NOW = problems({409: "The scan does not run, or the operation is not possible now."})
BUSY = problems({503: "Too many pictures are requested at once."})


class Png(Response):
    """A picture for people."""

    media_type = "image/png"


class Binary(Response):
    """Bytes."""

    media_type = "application/octet-stream"


class Npy(Binary):
    """An array, sent in pieces, so that the server holds no second copy of it for a slow receiver.

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
