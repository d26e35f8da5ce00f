"""The form of the image messages of a DECTRIS V2 series: by it the next one is read from the bytes that differ.

Of some 25 values in an image message three to ten change: the image's number, times, a position, and the pixels. Where all
other bytes of a message equal those of one that was read whole, it says the same but for these. Reading it so takes a fifth of
the time. Any other message is read whole.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from streams.codecs.base import EncodedFrame, Part
from streams.codecs.cbor import value_spans
from streams.frame import PositionM
from streams.untrusted import MAX_INDEX

__all__ = ["ImageForm", "ImageForms", "seconds"]

_MOST_BYTES = 2048
"""Bytes of a message beside its pixels; a longer one is read whole each time."""
_MOST_FORMS = 4
"""Forms that are tried: numbers and packed pixels need one byte more or less from image to image."""
_LEARN_EVERY = 32
"""Messages read whole from one learnt form to the next: learning costs as much as reading two."""
_CODES = {24: "B", 25: "H", 26: "I", 27: "Q"}
"""Layout of a number of CBOR, by the low bits of its first byte."""
_TIMES = ("start_time", "stop_time", "real_time")
_POSITION = b"\xa1\x6aposition_m\x82"


class _Field(NamedTuple):
    """A number that changes: where it lies, its layout, and its use."""

    offset: int
    code: str
    use: str


class _Piece:
    """Bytes that stay the same, and the changing numbers between them."""

    def __init__(self, data: memoryview, begin: int, stop: int, fields: list[_Field]) -> None:
        same, codes, at = [], [], begin
        for offset, code, _ in fields:
            same.append(bytes(data[at:offset]))
            codes.append(f"{offset - at}s{code}")
            at = offset + struct.calcsize(f">{code}")
        self.same = (*same, bytes(data[at:stop]))
        self._layout = struct.Struct(f">{''.join(codes)}{stop - at}s")
        self.size = self._layout.size

    def numbers(self, data: memoryview, begin: int) -> tuple[Any, ...] | None:
        """Return the numbers of a message that has the same bytes from ``begin`` on, else None."""
        values = self._layout.unpack_from(data, begin)
        return values[1::2] if values[::2] == self.same else None


class ImageForm:
    """What the messages of some images have in common: the bytes before the pixels, and those behind."""

    def __init__(self, data: memoryview, image: EncodedFrame, fields: list[_Field], payload_at: int) -> None:
        before, behind = ([f for f in fields if (f.offset < payload_at) is is_before] for is_before in (True, False))
        self._head = _Piece(data, 0, payload_at, before)
        self._tail = _Piece(data, payload_at + image.nbytes, len(data), behind)
        uses = [field.use for field in before + behind]
        self._length = uses.index("length")
        self._index = uses.index("index")
        self._time = uses.index("start_time") if "start_time" in uses else None
        self._position = uses.index("position") if "position" in uses else None
        self._image = image

    def read(self, data: memoryview, received_ns: int) -> EncodedFrame | None:
        """Return the image of a message of this form, else None."""
        begin, rest = self._head.size, self._tail.size
        if len(data) < begin + rest or (head := self._head.numbers(data, 0)) is None:
            return None
        stop = begin + head[self._length]
        if len(data) != stop + rest or (tail := self._tail.numbers(data, stop)) is None:
            return None
        numbers, image, time, position = head + tail, self._image, self._time, self._position
        index = numbers[self._index]
        if index > MAX_INDEX:
            return None
        return EncodedFrame(
            image.scan_id,
            index,
            image.shape,
            image.dtype,
            data[begin:stop],
            encoding=image.encoding,
            received_ns=received_ns,
            position_m=image.position_m if position is None else PositionM(numbers[position], numbers[position + 1]),
            elem_size=image.elem_size,
            column_major=image.column_major,
            exposed_s=image.exposed_s if time is None else seconds(numbers[time], numbers[time + 1]),
        )


class ImageForms:
    """The forms of the images of late; forget them when a series starts."""

    def __init__(self) -> None:
        self._forms: list[ImageForm] = []
        self._whole = 0

    def read(self, part: Part, received_ns: int) -> EncodedFrame | None:
        """Return the image of a message of a known form, else None."""
        if not self._forms or not isinstance(part, memoryview) or part.format != "B":
            return None
        for form in self._forms:
            image = form.read(part, received_ns)
            if image is not None:
                return image
        return None

    def learn(self, part: Part, image: EncodedFrame) -> None:
        """Take the form of a message that was read whole."""
        self._whole += 1
        if self._whole % _LEARN_EVERY or not isinstance(part, memoryview) or part.format != "B":
            return
        form = _form(part, image)
        if form is not None:
            self._forms = [form, *self._forms][:_MOST_FORMS]

    def forget(self) -> None:
        """Begin anew."""
        self._forms = []


def seconds(numerator: int, denominator: int) -> float | None:
    """Return a time of the detector's clock, s; None where it has none."""
    return float(min(numerator, 2**63)) / float(min(denominator, 2**63)) if denominator else None


def _form(data: memoryview, image: EncodedFrame) -> ImageForm | None:
    """Return the form of a message, None where it is long or has no changing numbers."""
    payload = image.payload
    if len(data) - len(payload) > _MOST_BYTES or not len(payload) or not isinstance(payload, memoryview):
        return None
    payload_at = _address(payload) - _address(data)
    spans = value_spans(data)
    if not 0 < payload_at <= len(data) - len(payload) or spans is None:
        return None
    fields = sorted([*_changing(data, spans), *_length_of(data, payload_at, len(payload))])
    is_complete = {"index", "length"} <= {field.use for field in fields}
    return ImageForm(data, image, fields, payload_at) if is_complete else None


def _changing(data: memoryview, spans: dict[str, tuple[int, int]]) -> Iterator[_Field]:
    if "image_id" in spans:
        yield from _numbers(data, *spans["image_id"], 1, "index")
    for name in _TIMES:
        begin, stop = spans.get(name, (0, 0))
        if stop > begin and data[begin] == 0x82:
            yield from _numbers(data, begin + 1, stop, 2, name)
    begin, stop = spans.get("user_data", (0, 0))
    at = begin + len(_POSITION)
    if stop == at + 18 and data[begin:at] == _POSITION and data[at] == data[at + 9] == 0xFB:
        yield from (_Field(at + 1, "d", "position"), _Field(at + 10, "d", "position"))


def _numbers(data: memoryview, begin: int, stop: int, count: int, use: str) -> list[_Field]:
    """Return whole numbers of one byte or more behind one another; none where there is something else."""
    found = []
    while begin < stop and (code := _CODES.get(data[begin])) is not None:  # the major type of whole numbers is 0
        found.append(_Field(begin + 1, code, use))
        begin += 1 + struct.calcsize(f">{code}")
    return found if begin == stop and len(found) == count else []


def _length_of(data: memoryview, payload_at: int, length: int) -> Iterator[_Field]:
    """Yield where the number of the pixels' bytes stands, right before them."""
    for low, code in _CODES.items():
        at = payload_at - struct.calcsize(f">{code}")
        if at > 0 and data[at - 1] == 0x40 + low and struct.unpack_from(f">{code}", data, at)[0] == length:
            yield _Field(at, code, "length")
            return


def _address(view: memoryview) -> int:
    address: Any = np.frombuffer(view, dtype=np.uint8).__array_interface__["data"][0]
    return int(address)
