"""Samples that a Bluesky run writes to files: their dataset and rows, and the pairing of y with x."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from streams.errors import PositionError
from streams.frame import FileDataset

__all__ = ["FileColumns", "read_resource"]

HDF5 = "application/x-hdf5"
_MOST_SEGMENTS = 1024
"""Pieces of one axis that wait for the other axis."""
_MOST_TEXT = 1024
"""Characters of a path, address or dataset name."""


@dataclass(slots=True)
class FileColumns:
    """The samples of y and of x read so far; each waits for its partner."""

    _segments: tuple[list[tuple[int, NDArray[np.float64]]], ...] = field(default_factory=lambda: ([], []))

    def add(self, axis: int, first: int, values: NDArray[np.float64]) -> list[tuple[int, NDArray[np.float64]]]:
        """Take samples of one axis; return (number of the first, samples ``(n, 2)`` [y, x]) for those that are paired now."""
        found = []
        for other, others in self._segments[1 - axis]:
            start, stop = max(first, other), min(first + len(values), other + len(others))
            if start < stop:
                pair = [values[start - first : stop - first], others[start - other : stop - other]]
                found.append((start, np.stack(pair if axis == 0 else pair[::-1], axis=-1)))
        mine = self._segments[axis]
        mine.append((first, values))
        del mine[:-_MOST_SEGMENTS]
        return found


def read_resource(document: dict[str, object]) -> FileDataset:
    """Return the dataset that a ``stream_resource`` names. Raises :class:`PositionError` if it cannot be read here."""
    key = document.get("data_key")
    parameters = document.get("parameters", document.get("resource_kwargs"))
    parameters = parameters if isinstance(parameters, dict) else {}
    kind = document.get("mimetype", document.get("spec"))
    if kind != HDF5 and "HDF5" not in str(kind):
        raise PositionError(f"the positions {key!s:.40} are in files of type {kind!s:.60}; only {HDF5} can be read")
    dataset = parameters.get("dataset", parameters.get("path"))
    if not isinstance(key, str) or not isinstance(dataset, str) or len(dataset) > _MOST_TEXT:
        raise PositionError("the Bluesky stream_resource has no data_key or no dataset")
    return FileDataset(key, _path(document), dataset)


def _path(document: dict[str, object]) -> str:
    """Return the path of the file on this machine."""
    uri = document.get("uri")
    if uri is None:
        root, path = document.get("root", ""), document.get("resource_path")
        uri = f"file://localhost/{root}/{path}" if isinstance(root, str) and isinstance(path, str) else ""
    if not isinstance(uri, str) or not 0 < len(uri) <= _MOST_TEXT:
        raise PositionError("the Bluesky stream_resource has no uri")
    try:
        parts = urlsplit(uri)
    except ValueError as fault:
        raise PositionError(f"the positions are at {uri[:80]}, which is not an address ({str(fault)[:80]})") from fault
    path = "/" + unquote(parts.path).lstrip("/")
    if parts.scheme != "file" or path == "/" or "\0" in path:
        raise PositionError(f"the positions are at {uri[:80]}; only files (file://…) can be read")
    return path
