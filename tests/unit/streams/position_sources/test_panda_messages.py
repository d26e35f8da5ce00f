"""Positions sent as a PandA's relay does come back through its reader, whatever is lost on the way."""

from __future__ import annotations

import json

import numpy as np
import pytest

from streams.position_sources.panda import DEFAULT_CHANNELS, PandaReader
from streams.position_sources.panda_messages import PandaMessages
from streams.position_sources.positions import raster_positions
from streams.position_sources.samples import SourceOptions

POSITIONS_M = raster_positions((9, 11), (1e-6, 2e-6), snake=True)


@pytest.mark.parametrize("samples_per_frame", [1, 3, 10, 100])
def test_positions_come_back(samples_per_frame: int) -> None:
    reader = PandaReader(SourceOptions(DEFAULT_CHANNELS, (1e-6, 1e-6), samples_per_frame))
    found = {}
    for _, parts in PandaMessages(samples_per_frame)(POSITIONS_M, "s"):
        found |= {position.index: position.position_m for position in reader.parse(parts).positions}
    assert sorted(found) == list(range(99))
    np.testing.assert_allclose([found[i] for i in range(99)], POSITIONS_M, atol=1e-15)


def test_the_messages_are_those_of_a_beamline() -> None:
    messages = [(last, json.loads(parts[0])) for last, parts in PandaMessages(10)(POSITIONS_M, "s")]
    (first, start), *data, (end, stop) = messages
    assert (first, start["msg_type"]) == (-1, "start")
    assert (end, stop) == (98, {"msg_type": "stop", "emitted_frames": 25})
    assert [message["frame_number"] for _, message in data] == list(range(25))
    assert [last for last, _ in data] == [min(41 * (n + 1) - 1, 989) // 10 for n in range(25)]
    slow = data[3][1]["datasets"]["/INENC3.VAL.Value"]
    assert (slow["dtype"], slow["size"], slow["starting_sample_number"], len(slow["data"])) == ("float64", 41, 123, 41)
    samples = [value for _, message in data for value in message["datasets"]["/INENC2.VAL.Value"]["data"]]
    assert len(set(samples[10:20])) == 10  # the stage moves during a frame


def test_one_position_and_none() -> None:
    assert len(list(PandaMessages(4)(POSITIONS_M[:1], "s"))) == 3
    assert len(list(PandaMessages(4)(POSITIONS_M[:0], "s"))) == 2
