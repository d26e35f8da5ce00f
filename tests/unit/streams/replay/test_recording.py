"""Recordings: byte for byte, whatever happens to the file's end."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from streams.errors import RecordingError
from streams.replay.playback import play
from streams.replay.recording import MAGIC, Message, Recording, RecordingWriter, is_recording
from streams.sockets.transport import Receiver, Sender
from tests.support.stream_tools import Listener

STREAMS = {"frames": {"format": "native"}, "positions": {"format": "native"}}
OLD = Path(__file__).parents[3] / "data" / "logs" / "old.stream"
MESSAGES = [
    Message("frames", 5, [b"start", b"{}"]),
    Message("positions", 6, [b""]),
    Message("frames", 1_000_007, [b"frame", bytes(range(256)), b"\xc5REC" * 9]),
    Message("frames", 2_000_008, []),
]


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return write(tmp_path / "whole.stream", MESSAGES)


def write(path: Path, messages: list[Message], is_ended: bool = True) -> Path:
    with RecordingWriter(path, STREAMS, {"program": "test"}) as writer:
        for message in messages:
            writer.write(message.stream, message.time_ns, [memoryview(part) for part in message.parts])
        if is_ended:
            writer.end(9, {"note": "done"})
    return path


def test_what_is_written_is_read(whole: Path) -> None:
    recording = Recording(whole)
    assert list(recording) == MESSAGES
    assert list(recording) == MESSAGES
    assert recording.is_whole
    assert recording.ending == {"messages": {"frames": 3, "positions": 1}, "note": "done"}
    assert recording.about["program"] == "test"
    assert list(recording.streams) == ["frames", "positions"]
    assert is_recording(whole)


def test_any_cut_keeps_every_record_before_it(whole: Path, tmp_path: Path) -> None:
    content = whole.read_bytes()
    first = content.index(b"\xc5REC", 50)
    cut = tmp_path / "cut.stream"
    for length in range(first, len(content)):
        cut.write_bytes(content[:length])
        recording = Recording(cut)
        found = list(recording)
        assert found == MESSAGES[: len(found)]
        assert not recording.is_whole
        assert recording.cut_bytes + last_record_end(content, length) == length


def last_record_end(content: bytes, length: int) -> int:
    """Where the last record that is whole within a length ends, by walking the heads."""
    at = 16
    while at + 32 <= length:
        size = int.from_bytes(content[at + 16 : at + 24], "little")
        if at + 32 + size > length:
            break
        at += 32 + size
    return at


def test_a_changed_byte_costs_its_own_message_and_gives_no_wrong_one(whole: Path, tmp_path: Path) -> None:
    content = whole.read_bytes()
    heads = [at for at in range(len(content)) if content.startswith(b"\xc5REC", at) and content[at + 4] < 3][:6]
    for at in range(heads[0], len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 0x41
        (tmp_path / "damaged.stream").write_bytes(damaged)
        recording = Recording(tmp_path / "damaged.stream")
        touched = sum(head <= at for head in heads) - 2  # the first record is not a message
        assert list(recording) == [message for number, message in enumerate(MESSAGES) if number != touched]
        assert list(recording.streams) == list(STREAMS)
        assert not recording.is_whole
        assert (recording.damaged, recording.cut_bytes > 0) == ((0, True) if touched == 4 else (1, False))


def test_a_recording_without_its_first_record_and_its_end_is_named(whole: Path) -> None:
    content = bytearray(whole.read_bytes())
    content[20] ^= 1
    content[-1] ^= 1
    whole.write_bytes(content)
    with pytest.raises(RecordingError, match="its first record is damaged and it has no end"):
        Recording(whole)


def test_a_recording_made_before_the_common_log_is_read_and_written_as_the_same_bytes(tmp_path: Path) -> None:
    old = Recording(OLD)
    messages = list(old)
    assert [(message.stream, message.time_ns) for message in messages[:3]] == [
        ("frames", 5), ("frames", 0), ("positions", 7)
    ]  # fmt: skip
    assert (len(messages), messages[2].parts, messages[-1]) == (10, [b"", b"\0"], Message("frames", 9_000_000, []))
    assert old.is_whole
    streams = {name: {key: str(value) for key, value in facts.items()} for name, facts in old.streams.items()}
    about = {key: str(value) for key, value in old.about.items() if key != "streams"}
    for facts in streams.values():
        del facts["name"]
    with RecordingWriter(tmp_path / "new.stream", streams, about) as writer:
        for message in messages:
            writer.write(message.stream, message.time_ns, message.parts)
        writer.end(10_000_000, {"faults": (old.ending or {})["faults"]})
        assert writer.bytes == OLD.stat().st_size
    assert (tmp_path / "new.stream").read_bytes() == OLD.read_bytes()


@pytest.mark.parametrize("parts", [[b""] * 65536, [bytes(1)] * 65536])
def test_a_message_that_the_format_cannot_hold_is_refused_and_the_rest_is_kept(
    tmp_path: Path, parts: list[bytes]
) -> None:
    with RecordingWriter(tmp_path / "a.stream", STREAMS, {}) as writer:
        writer.write("frames", 1, [b"x"] * 2000)
        with pytest.raises(RecordingError, match="a message of 65536 parts"):
            writer.write("frames", 2, parts)
        writer.write("frames", 3, [b"after"])
    assert [len(message.parts) for message in Recording(tmp_path / "a.stream")] == [2000, 1]


def test_a_recorder_that_was_killed_leaves_its_messages(tmp_path: Path) -> None:
    recording = Recording(write(tmp_path / "a.stream", MESSAGES, is_ended=False))
    assert list(recording) == MESSAGES
    assert not recording.is_whole
    assert recording.cut_bytes == 0


@pytest.mark.parametrize("written", [0, 20, 40])
def test_a_full_disk_ends_with_the_last_whole_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    path = tmp_path / "a.stream"
    with RecordingWriter(path, STREAMS, {}) as writer:
        writer.write("frames", 1, [b"kept"])

        def fill(file: int, pieces: list[bytes]) -> int:
            os.write(file, b"".join(pieces)[:written])
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "writev", fill)
            with pytest.raises(OSError, match="No space left"):
                writer.write("frames", 2, [bytes(100)])
        writer.write("frames", 3, [b"after"])
    recording = Recording(path)
    assert [message.parts for message in recording] == [[b"kept"], [b"after"]]
    assert recording.cut_bytes == 0


def test_other_files_are_refused(tmp_path: Path) -> None:
    cases = {
        "empty": b"",
        "text": b"this is not a recording, but long enough",
        "newer": MAGIC + b"\x09\x00",
        "head": MAGIC + b"\x01\x00",
    }
    words = {
        "empty": "is not a recording",
        "text": "is not a recording",
        "newer": "has version 9",
        "head": "ends before its",
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RecordingError, match=words[name]):
            Recording(tmp_path / name)
    with pytest.raises(RecordingError, match="cannot be read"):
        Recording(tmp_path / "absent")
    assert not is_recording(tmp_path / "absent")
    with pytest.raises(FileExistsError):
        RecordingWriter(tmp_path / "empty", STREAMS, {})


@pytest.mark.parametrize(("rate_hz", "least_s"), [(None, 0.2), (20.0, 0.05), (1000.0, 0.0)])
def test_playing_sends_the_same_bytes_in_order_and_no_earlier(
    tmp_path: Path, rate_hz: float | None, least_s: float
) -> None:
    sent = [
        Message("frames", 7_000_000_000, [b"a", bytes(300)]),
        Message("positions", 7_000_000_000, [b""]),
        Message("frames", 7_200_000_000, [b"b"]),
    ]
    recording = Recording(write(tmp_path / "a.stream", sent))
    listeners = {"frames": Listener(), "positions": Listener()}
    with Sender("tcp://127.0.0.1:0") as frames, Sender("tcp://127.0.0.1:0") as positions:
        senders = {"frames": frames, "positions": positions}
        receivers = [Receiver(name, senders[name].bound_endpoint, "pull", listeners[name]) for name in senders]
        for receiver in receivers:
            receiver.start()
        played = play(recording, senders, rate_hz=rate_hz)
        assert listeners["frames"].wait(2) == [[b"a", bytes(300)], [b"b"]]
        assert listeners["positions"].wait(1) == [[b""]]
        for receiver in receivers:
            receiver.stop()
    assert played.sent == {"frames": 2, "positions": 1}
    assert (played.cut_bytes, played.damaged) == (0, 0)
    assert played.seconds >= least_s
