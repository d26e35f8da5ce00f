"""What a frame that waits keeps in memory of its message."""

from __future__ import annotations

import numpy as np

from daemon.intake.thread import without_ballast
from streams.codecs import EncodedFrame


def test_a_frame_lets_go_of_what_its_message_holds_beside_it():
    message = memoryview(bytes(1_000_000))
    frame = EncodedFrame("a", 0, (100, 100), np.dtype("u1"), message[:10_000], "", 0)
    (light,) = without_ballast([frame], len(message))
    assert light.payload == message[:10_000]
    assert getattr(light.payload, "obj", None) is not message.obj
    (same,) = without_ballast([frame], 20_000)
    assert same is frame
