"""DECTRIS V2 images read by what differs from the last: the same item, or the same refusal, as when read whole."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.codecs import CODECS, Codec, EncodedFrame
from streams.codecs.cbor import SELF_DESCRIBED
from streams.codecs.dectris_v2_form import ImageForm
from streams.errors import CodecError
from streams.frame import ScanStart
from streams.untrusted import MAX_INDEX
from tests.support.recorded import dectris_v2

TICKS = 50_000_000
START = CODECS["dectris-v2"]().encode_start(ScanStart("a"), (2, 30), "uint8")


def image(index: int, pixels: bytes = bytes(60), **other: Any) -> memoryview:
    """A message with the keys of a detector; its numbers of one byte or more are those of an image late in a series."""
    times = {name: [5 * TICKS + index, TICKS] for name in ("start_time", "stop_time", "real_time")}
    packed = cbor2.CBORTag(56500, ["lz4", 1, pixels])
    data = {"threshold_1": cbor2.CBORTag(40, [[2, 30], cbor2.CBORTag(64, packed)])}
    message = {"type": "image", "series_id": 700, "series_unique_id": "a", "image_id": index} | times
    return memoryview(SELF_DESCRIBED + cbor2.dumps(message | {"data": data} | other))


def position(y: float, x: float) -> dict[str, Any]:
    return {"user_data": {"position_m": [y, x]}}


def read(codec: Codec, message: memoryview) -> object:
    """What a codec makes of a message: its items, or its refusal in words."""
    try:
        return codec.parse([message], 7)
    except CodecError as fault:
        return str(fault), fault.reason, fault.index


def taught(*messages: memoryview) -> Codec:
    """A codec that has read some messages so often that it knows their forms."""
    codec = CODECS["dectris-v2"]()
    codec.parse(START, 0)
    for message in messages:
        for _ in range(40):
            codec.parse([message], 0)
    return codec


def untaught() -> Codec:
    codec = CODECS["dectris-v2"]()
    codec.parse(START, 0)
    return codec


@pytest.fixture
def by_form(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The indexes of the images that were read by their form."""
    found: list[int] = []
    whole = ImageForm.read

    def counted(form: ImageForm, data: memoryview, received_ns: int) -> EncodedFrame | None:
        item = whole(form, data, received_ns)
        if item is not None:
            found.append(item.index)
        return item

    monkeypatch.setattr(ImageForm, "read", counted)
    return found


@pytest.mark.parametrize("other", [{}, position(1e-6, -2e-6)], ids=["pixels last", "a position behind them"])
def test_the_next_image_is_read_by_its_form(other: dict[str, Any], by_form: list[int]) -> None:
    codec = taught(image(300, **other))
    by_form.clear()
    later = position(3e-6, 4e-6) if other else {}
    message = image(301, bytes(range(70)), **later)
    (item,) = codec.parse([message], 7)
    assert by_form == [301]
    assert [item] == untaught().parse([message], 7)
    assert isinstance(item, EncodedFrame)
    assert (item.exposed_s, bytes(item.payload)) == ((5 * TICKS + 301) / TICKS, bytes(range(70)))
    assert item.position_m == ((3e-6, 4e-6) if other else None)


def test_a_recorded_image_is_read_by_its_form(by_form: list[int]) -> None:
    message = bytearray(dectris_v2("image"))
    at = message.index(b"\x68image_id") + 9
    assert message[at] == 0
    message[at : at + 1] = b"\x19\x01\x00"
    codec = taught(memoryview(message))
    by_form.clear()
    message[at + 2] = 9
    found = read(codec, memoryview(message))
    assert (by_form, found) == ([265], read(untaught(), memoryview(message)))


DAMAGED = taught(image(300, **position(1.0, 2.0)))


def _words(found: object) -> str:
    """A result without the addresses of views."""
    if isinstance(found, list) and found and isinstance(found[0], EncodedFrame):
        item = found[0]
        return repr((item.scan_id, item.index, item.shape, item.position_m, item.exposed_s, bytes(item.payload)))
    return repr(found)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.builds(
            image,
            st.integers(0, 70_000) | st.just(MAX_INDEX + 1),
            st.binary(min_size=1, max_size=300),
            user_data=st.none()
            | st.just("x")
            | st.fixed_dictionaries({"position_m": st.lists(st.floats(), max_size=3)}),
            stop_time=st.none() | st.tuples(st.integers(0, 2**33), st.integers(0, 300)),
            start_time=st.none() | st.lists(st.integers(0, 2**33), max_size=3),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_images_are_read_as_without_forms(messages: list[memoryview]) -> None:
    codec = taught(image(300), image(70_000, bytes(300), **position(0.0, 0.0)))
    for message in messages:
        assert _words(read(codec, message)) == _words(read(untaught(), message))


@settings(deadline=None, max_examples=300)
@given(st.data(), st.integers(0, 255), st.booleans())
def test_a_damaged_image_is_refused_as_without_forms(data: st.DataObject, value: int, is_cut: bool) -> None:
    good = image(300, **position(1.0, 2.0))
    message = bytearray(good)
    at = data.draw(st.integers(0, len(message) - 1))
    message[at] = value
    damaged = memoryview(message)[: at if is_cut else len(message)]
    assert _words(read(DAMAGED, damaged)) == _words(read(untaught(), damaged))


def test_forms_are_forgotten_when_a_series_starts() -> None:
    codec = taught(image(300))
    codec.parse(CODECS["dectris-v2"]().encode_start(ScanStart("a"), (3, 30), "uint8"), 0)
    assert "2 x 30 uint8, but the scan's frames are 3 x 30" in str(read(codec, image(301)))


def test_a_key_that_is_there_twice_makes_no_form(by_form: list[int]) -> None:
    twice = bytes(image(300)).replace(b"\xa8dtype", b"\xa9himage_id\x19\x01\x09dtype")
    assert twice.startswith(SELF_DESCRIBED + b"\xa9")
    taught(memoryview(twice))
    assert by_form == []
