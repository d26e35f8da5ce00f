"""Senders of the DECTRIS V1 stream that others wrote, each a process in an environment of its own, ``.venv-senders``."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bitshuffle
import h5py
import numpy as np
from numpy.typing import NDArray

from tests.support import environments

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".venv-senders"
PACKAGES = ["libertem-live==0.3.0", "libertem-dectris==0.3.2", "flask", "eiger-simulator==0.5.1", "pvapy==5.6.0",
            "bluesky==1.15.1", "event-model==1.24.0"]  # fmt: skip
PATIENCE_S = 100.0


def make_environment() -> Path:
    """Return the directory of the senders' programs, installed once."""
    return environments.make_environment(ENVIRONMENT, "the senders", [PACKAGES], 600).parent


class Process:
    """A sender that runs; what it says can be waited for."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._lines: list[str] = []
        self._changed = threading.Condition()
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_for(self, pattern: str) -> str:
        """Return the first group of a pattern, once a line matches it."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._find(pattern) is not None or self._process.poll() is not None, PATIENCE_S
            )
            found = self._find(pattern)
        assert found is not None, "\n".join(self._lines)
        return found

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def end(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)  # some start processes of their own
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _find(self, pattern: str) -> str | None:
        return next((found[1] for line in self._lines if (found := re.search(pattern, line))), None)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._lines.append(line.rstrip())
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


@contextmanager
def process(command: Sequence[str], folder: Path) -> Iterator[Process]:
    running = Process(command, folder)
    try:
        yield running
    finally:
        running.end()


def put(url: str, value: Any = None) -> None:
    """PUT to a simulator's REST interface; it may still be starting."""
    data = None if value is None else json.dumps({"value": value}).encode()
    request = urllib.request.Request(url, data=data, method="PUT", headers={"Content-Type": "application/json"})
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S):
                return
        except urllib.error.HTTPError:
            raise
        except OSError:
            if time.monotonic() > end:
                raise
            threading.Event().wait(0.1)


def write_dump(path: Path, counts: NDArray[np.uint16], series: int = 34) -> Path:
    """Write what libertem-live replays: each part of a series, after its length."""
    count, rows, columns = counts.shape
    configuration = {
        "trigger_mode": "exte", "ntrigger": count, "nimages": 1, "bit_depth_image": 16, "photon_energy": 8800.0,
        "detector_distance": 1.92, "x_pixel_size": 75e-6, "y_pixel_size": 75e-6, "count_time": 0.01, "frame_time": 0.01,
        "x_pixels_in_detector": columns, "y_pixels_in_detector": rows,
    }  # fmt: skip
    parts = [json.dumps({"htype": "dheader-1.0", "series": series, "header_detail": "basic"}).encode()]
    parts.append(json.dumps(configuration).encode())
    for index, frame in enumerate(counts):
        packed = struct.pack(">QI", frame.nbytes, 8192) + bytes(bitshuffle.compress_lz4(frame.reshape(-1), 4096))
        parts.append(json.dumps({"htype": "dimage-1.0", "series": series, "frame": index, "hash": ""}).encode())
        parts.append(
            json.dumps({"htype": "dimage_d-1.0", "shape": [columns, rows], "type": "uint16",
                        "encoding": "bs16-lz4<", "size": len(packed)}).encode()
        )  # fmt: skip
        parts += [packed, json.dumps({"htype": "dconfig-1.0", "start_time": index * 10**7}).encode()]
    parts.append(json.dumps({"htype": "dseries_end-1.0", "series": series}).encode())
    path.write_bytes(b"".join(struct.pack("<q", len(part)) + part for part in parts))
    return path


def write_master(path: Path, counts: NDArray[np.uint16]) -> Path:
    """Write an HDF5 master file with the frames."""
    with h5py.File(path, "w") as file:
        file["entry/data/data_000001"] = counts
    return path
