"""Positions of a PandA as JSON messages, each a single part.

======== ==========================================================================================================
``start`` the source was armed: sample numbers restart
``data``  ``frame_number``: the message's own number from 0; ``datasets``: for each channel ``data``, ``size`` and
          ``starting_sample_number``, the number since arming of its first sample
``stop``  ``emitted_frames``: number of data messages sent
======== ==========================================================================================================

MAX IV's relay sends the same data in another form (:mod:`streams.position_sources.panda_series`); each message shows its form.

Samples are placed by ``starting_sample_number`` alone. A restarted source whose ``start`` message was lost is recognised by
several messages in a row with known samples, or after a ``stop`` by its first message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.codecs.base import Part, is_count
from streams.errors import PositionError
from streams.frame import Position, PositionNews
from streams.position_sources.panda_series import SeriesForm
from streams.position_sources.samples import Sampler, SourceOptions
from streams.untrusted import read_json, shown

__all__ = ["DEFAULT_CHANNELS", "DEFAULT_TIME_CHANNEL", "PandaReader", "read_json_map"]

DEFAULT_CHANNELS = ("/INENC3.VAL.Value", "/INENC2.VAL.Value")
DEFAULT_TIME_CHANNEL = "/PCAP.TS_TRIG.Value"
_MAX_MESSAGE_BYTES = 4 * 2**20
"""Size of one message; beamlines send some kilobytes."""
_MAX_SAMPLES = 65_536
"""Samples of one channel in a message; beamlines send 41."""
_REPEATS_OF_A_RESTART = 8
"""Messages in a row with known samples that mean a restart; a network repeats fewer."""


class _Samples(NamedTuple):
    """The samples of one message, as :meth:`Sampler.add` takes them."""

    first: int
    values: NDArray[np.float64]
    times_s: NDArray[np.float64] | None


class PandaReader:
    """Reads the messages of one stream, in order of arrival."""

    def __init__(self, options: SourceOptions) -> None:
        self._options = options
        self._sampler = Sampler(options)
        self._as_relay = SeriesForm()
        self._messages = 0
        self._last_number: object = None
        self._has_stopped = False
        self._repeats: list[_Samples] = []

    def parse(self, parts: Sequence[Part]) -> PositionNews:
        """Read one message. Raises :class:`PositionError` for one that is refused."""
        if len(parts) != 1:
            raise PositionError(
                f"a PandA message is one part of JSON, not {len(parts)} parts; check [positions] source"
            )
        message = self._as_relay(read_json_map(parts[0], "PandA message"))
        kind = message.get("msg_type", message.get("message_type"))
        if kind == "start":
            self._begin()
            return self._news(begins=True)
        if kind == "data":
            return self._data(message)
        if kind == "stop":
            return self._stop(message)
        raise PositionError(
            f"PandA message of type {shown(kind)!r} is not one of start, data, stop, series-start, series-end"
        )

    def _begin(self) -> None:
        self._sampler.begin()
        self._has_stopped = False
        self._messages = 0
        self._repeats = []

    def _data(self, message: dict[str, object]) -> PositionNews:
        datasets = message.get("datasets")
        if not isinstance(datasets, dict):
            raise PositionError("the PandA data message has no datasets")
        samples = self._samples(datasets)
        number = message.get("frame_number")
        begins = self._has_stopped and not self._continues(number, samples.first)
        if begins:
            self._begin()
        before = self._sampler.repeated
        positions = self._sampler.add(*samples)
        self._messages += 1
        self._last_number = number
        if self._sampler.repeated == before:
            self._repeats = []
            return self._news(positions=positions, begins=begins)
        self._repeats.append(samples)
        if len(self._repeats) >= _REPEATS_OF_A_RESTART:
            return self._news(positions=self._begin_with_repeats(), begins=True)
        fault = (
            f"position samples from {samples.first} on arrived again: a second source sends too, or this one has restarted; "
            "let only one source send at a time"
        )
        return self._news(positions=positions, fault=fault)

    def _continues(self, number: object, first: int) -> bool:
        """Whether a message continues the run although a ``stop`` arrived: then a second source sent the ``stop``."""
        last = self._last_number
        return type(last) is int and number == last + 1 and first == self._sampler.samples

    def _begin_with_repeats(self) -> list[Position]:
        """Treat the repeated messages as a new run whose ``start`` message was lost."""
        repeats = self._repeats
        self._begin()
        self._messages = len(repeats)
        return [position for samples in repeats for position in self._sampler.add(*samples)]

    def _samples(self, datasets: dict[str, object]) -> _Samples:
        (first, y), (other, x) = (self._channel(datasets, name) for name in self._options.channels)
        if first != other or len(y) != len(x):
            raise PositionError(
                f"channels {' and '.join(self._options.channels)} do not contain the same samples: "
                f"{len(y)} from {first}, {len(x)} from {other}"
            )
        times_s = None
        name = self._options.time_channel
        if name is not None and name in datasets:
            start, times = self._channel(datasets, name)
            times_s = times if start == first and len(times) == len(y) else None
        return _Samples(first, np.stack([y, x], axis=-1), times_s)

    def _channel(self, datasets: dict[str, object], name: str) -> tuple[int, NDArray[np.float64]]:
        dataset = datasets.get(name)
        if not isinstance(dataset, dict):
            there = ", ".join(shown(key) for key in list(datasets)[:12])
            raise PositionError(
                f"the PandA does not send the channel {name}; set [positions] channels to two of {there}"
            )
        first, data = dataset.get("starting_sample_number"), dataset.get("data")
        if not isinstance(first, int) or not is_count(first):
            raise PositionError(f"channel {name}: starting_sample_number is {shown(first)}, not a count")
        if not isinstance(data, list) or len(data) > _MAX_SAMPLES:
            raise PositionError(f"channel {name}: data is not a list of at most {_MAX_SAMPLES} samples")
        if dataset.get("size", len(data)) != len(data):
            raise PositionError(f"channel {name}: {len(data)} samples, but {shown(dataset['size'])} are announced")
        if not all(type(value) in (int, float) for value in data):
            raise PositionError(f"channel {name}: a sample is not a number")
        try:
            return first, np.array(data, np.float64)
        except OverflowError as error:
            raise PositionError(f"channel {name}: a sample is too large for a number") from error

    def _stop(self, message: dict[str, object]) -> PositionNews:
        emitted = message.get("emitted_frames")
        is_theirs = bool(self._repeats) and emitted == len(self._repeats)  # a short run whose start message was lost
        positions = self._begin_with_repeats() if is_theirs else []
        self._has_stopped = True
        fault = None
        if type(emitted) is int and emitted > self._messages and not self._sampler.lost:  # the end of the run was lost
            lost = emitted - self._messages
            fault = f"{lost} of {emitted} position messages were lost; their frames have no position"
        return self._news(positions=positions, begins=is_theirs, ends=True, fault=fault)

    def _news(self, **what: Any) -> PositionNews:
        sampler = self._sampler
        return PositionNews(
            samples=sampler.samples,
            samples_lost=sampler.lost,
            samples_per_frame=self._options.samples_per_frame,
            **what,
        )


def read_json_map(part: Part, what: str, max_bytes: int = _MAX_MESSAGE_BYTES) -> dict[str, object]:
    """Return the JSON object in a message part; raise :class:`PositionError` for anything else."""
    if len(part) > max_bytes:
        raise PositionError(f"{what} of {len(part)} bytes exceeds {max_bytes}")
    try:
        value = read_json(part)
    except ValueError as error:
        raise PositionError(f"{what} is not JSON: {str(error)[:80]}") from error
    if not isinstance(value, dict):
        raise PositionError(f"{what} is not a JSON object")
    return value
