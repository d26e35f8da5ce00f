"""The wizard of the page: one stream at a time is listened to; the configuration may be saved in one folder."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daemon.attach.answers import POSITION_KINDS, PROBE_KINDS, Asker
from daemon.attach.heard_stream import HeardStream, Socket, hear
from daemon.attach.wizard import Answers, make_config, read_endpoint
from daemon.config.input import Frames
from daemon.errors import ConfigError, DaemonError, RefusedError
from daemon.publish.http.attach import AttachAnswers, AttachChoices, HeardFields, MadeFields, StreamChoice
from daemon.publish.png import draw_pattern
from ptychopinn.atomic import atomic_path
from ptychopinn.detector.geometry import ORIENTATIONS, orient
from streams.codecs import CODECS


class PageWizard:
    """Implements :class:`daemon.publish.http.attach.Attacher`.

    Parameters
    ----------
    folder
        Returns the folder in which configurations are saved.
    own
        The frame stream of the daemon that serves the page, if there is one.
    """

    def __init__(self, folder: Callable[[], Path], own: Frames | None = None) -> None:
        self._folder = folder
        self._own = own
        self._is_free = threading.Lock()
        self._last: tuple[str, HeardStream] | None = None

    def choices(self) -> AttachChoices:
        """Return the names that the answers choose from."""
        return AttachChoices(
            formats=list(CODECS),
            probes=list(PROBE_KINDS),
            positions=list(POSITION_KINDS),
            orientations=list(ORIENTATIONS),
        )

    def listen(self, choice: StreamChoice) -> HeardFields:
        """Listen, and keep what was heard."""
        try:
            endpoint = read_endpoint(choice.endpoint)
        except ValueError as fault:
            raise ConfigError(str(fault)) from fault
        if choice.format is not None and choice.format not in CODECS:
            raise ConfigError(f"{choice.format!r} is not one of {', '.join(CODECS)}")
        socket = self._socket(endpoint, choice.socket)
        if not self._is_free.acquire(blocking=False):
            raise RefusedError("another request listens to a stream now; try again in some seconds")
        try:
            heard = hear(endpoint, socket, choice.format, choice.wait_s)
            self._last = (endpoint, heard)
        finally:
            self._is_free.release()
        return _fields(endpoint, heard)

    def make(self, answers: AttachAnswers) -> MadeFields:
        """Return the configuration for the stream heard last."""
        if self._last is None:
            raise RefusedError("no stream was heard yet; listen to one first")
        endpoint, heard = self._last
        notes = list[str]()
        given = {name: text or None for name, text in answers.model_dump(exclude={"save"}).items()}
        folder = self._folder()
        with _writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
            made = make_config(endpoint, heard, Answers(**given), Asker(None, notes.append, has_options=False), folder)
            saved = _save(folder, made.text) if answers.save else None
        detector = made.config.detector
        counts = orient(heard.counts, detector.orientation)
        return MadeFields(
            toml=made.text,
            notes=[*notes, f"Frames: {made.frames}."],
            orientation=detector.orientation,
            center_px=None if detector.center_px == "auto" else list(detector.center_px),
            size_px=detector.size_px,
            shape=list(counts.shape),
            pattern=_picture(counts),
            saved=None if saved is None else str(saved),
        )

    def _socket(self, endpoint: str, socket: Socket | None) -> Socket | None:
        """Return the socket to listen with; a second PULL socket would take frames away from the daemon."""
        if self._own is None or _numeric(endpoint) != _numeric(self._own.endpoint):
            return socket
        if self._own.socket == "sub":
            return "sub"
        raise RefusedError(
            f"this daemon receives frames from {endpoint}, and a second receiver would take a part of them; "
            "stop the daemon and run: ptycholive init --page"
        )


def _numeric(endpoint: str) -> str:
    return endpoint.replace("localhost", "127.0.0.1")


@contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        raise DaemonError(f"nothing can be written to {folder} ({fault.strerror}); download the file") from fault


def _fields(endpoint: str, heard: HeardStream) -> HeardFields:
    header = heard.geometry
    pixel_m = None if header.detector_pixel_size_m is None else header.detector_pixel_size_m[0]
    return HeardFields(
        endpoint=endpoint,
        socket=heard.socket,
        format=heard.format,
        shape=heard.form["shape"],
        dtype=heard.form["dtype"],
        rate_hz=heard.form["rate_hz"],
        frames=heard.frames,
        counts=float(heard.counts.sum()),
        has_positions=heard.has_positions,
        energy_kev=_in(header.photon_energy_eV, 1e3),
        distance_mm=_in(header.detector_distance_m, 1e-3),
        pixel_um=_in(pixel_m, 1e-6),
        pattern=_picture(heard.counts),
    )


def _in(value: float | None, unit: float) -> float | None:
    return None if value is None or not np.isfinite(value) else float(f"{value / unit:.9g}")


def _picture(counts: NDArray[np.float32]) -> str:
    return "data:image/png;base64," + base64.b64encode(draw_pattern(np.sqrt(counts))).decode()


def _save(folder: Path, text: str) -> Path:
    """Write a configuration; its name depends on the text, so nothing is replaced by something else."""
    path = folder / f"setup-{hashlib.sha256(text.encode()).hexdigest()[:8]}.toml"
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")
    return path.absolute()
