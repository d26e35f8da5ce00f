"""The worked example of a new detector does what the document says, by itself and in a running stream."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streams.codecs import CODECS, CodecOptions, EncodedFrame
from streams.errors import CodecError
from streams.replay.sender import replay
from streams.sockets.transport import Receiver, Sender
from tests.support.stream_tools import WAIT_S, Listener, patterns

DOCUMENT = Path(__file__).parents[4] / "deploy/docs/how-to/detectors.md"


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run the codec of the document, enter it as the document says, and return what is there then."""
    codec, test = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL)
    names: dict[str, Any] = {"CODECS": CODECS, "pytest": pytest}
    exec(compile(codec, str(DOCUMENT), "exec"), names)  # the document is ours
    monkeypatch.setitem(CODECS, "line", lambda **options: names["LineCodec"](CodecOptions(**options)))
    names["test"] = compile(test, str(DOCUMENT), "exec")
    return names


def test_the_test_of_the_example_passes(blocks: dict[str, Any]) -> None:
    exec(blocks["test"], blocks)


def test_the_test_of_the_example_can_fail(blocks: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CODECS, "line", CODECS["native"])
    with pytest.raises((AssertionError, CodecError)):
        exec(blocks["test"], blocks)


def test_the_example_carries_a_scan(blocks: dict[str, Any]) -> None:
    counts, listener = patterns(20), Listener()
    with Sender("tcp://127.0.0.1:0") as sender:
        receiver = Receiver("frames", sender.bound_endpoint, "pull", listener)
        receiver.start()
        assert sender.wait_for_peer(WAIT_S)
        replay(counts, None, CODECS["line"](), sender, scan_id="s")
        listener.wait(20)
        receiver.stop()
    codec = CODECS["line"]()
    items = [item for parts, stamp in listener.messages for item in codec.parse(parts, stamp)]
    assert np.array_equal([item.decode().counts for item in items if isinstance(item, EncodedFrame)], counts)
