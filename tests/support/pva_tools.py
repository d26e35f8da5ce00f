"""A pvAccess server that serves images as areaDetector does."""

from __future__ import annotations

from typing import Any

import bitshuffle
import lz4.block
import numpy as np
import pytest
from p4p import Value
from p4p.nt import NTNDArray
from p4p.server import Server
from p4p.server.thread import SharedPV

NAME = "TEST:Pva1:Image"
SCALARS = {"uint8": 5, "uint16": 6, "uint32": 7, "float32": 9}
UNIONS = {"uint8": "ubyteValue", "uint16": "ushortValue", "uint32": "uintValue", "float32": "floatValue"}


class Detector:
    """A server of one image, whose address this process' clients are told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.variable = SharedPV()
        self.server = Server(providers=[{NAME: self.variable}], isolate=True)
        for key, value in self.server.conf().items():
            if key.startswith("EPICS_PVA_"):
                monkeypatch.setenv(key, value)

    def open(self, number: int = 0) -> None:
        self.variable.open(image(np.zeros((4, 6), np.uint16), number))

    def post_value(self, value: Value) -> None:
        self.variable.post(value)

    def post(self, counts: np.ndarray, number: int, codec: str = "") -> None:
        self.variable.post(image(counts, number, codec))


def image(counts: np.ndarray, number: int, codec: str = "", /, **changes: Any) -> Value:
    """Return what areaDetector would serve, with some fields otherwise."""
    kind = counts.dtype.name
    value: tuple[str, Any] = (UNIONS[kind], counts.reshape(-1))
    if codec == "lz4":
        packed = lz4.block.compress(counts.tobytes(), store_size=False)
        value = ("ubyteValue", np.frombuffer(packed, np.uint8))
    elif codec == "bslz4":
        value = ("ubyteValue", np.asarray(bitshuffle.compress_lz4(counts.reshape(-1))).view(np.uint8))
    elif codec:
        value = ("ubyteValue", np.zeros(9, np.uint8))
    return Value(
        NTNDArray.buildType(),
        {
            "value": value,
            "codec": {"name": codec, "parameters": SCALARS[kind]},
            "dimension": [{"size": side} for side in reversed(counts.shape)],
            "uniqueId": number,
            "compressedSize": value[1].nbytes,
            "uncompressedSize": counts.nbytes,
        }
        | changes,
    )
