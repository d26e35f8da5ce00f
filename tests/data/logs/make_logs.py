"""Made ``old.stream`` and ``old-journal`` with the code of commit 1c670cd, before both formats shared one log.

Later versions must read these files and write the same bytes. Do not run it again with later code.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from daemon.journal import Journal, Keeper, ScanNames, StoredStart, pack
from streams.codecs import CODECS
from streams.errors import CodecError
from streams.frame import Frame, Position, PositionM, ScanStart, StreamGeometry
from streams.replay.recording import RecordingWriter

FOLDER = Path(__file__).parent
GEOMETRY = StreamGeometry(
    photon_energy_eV=8800.0, beam_center_px=(3.5, 4.0), mask=np.eye(8, dtype=bool), frame_shape=(8, 8),
    frame_dtype=np.dtype("uint16"),
)  # fmt: skip


def counts_of(index: int) -> np.ndarray:
    return (np.arange(64, dtype=np.uint16).reshape(8, 8) * (index + 1)) % 97


def make_recording(path: Path) -> None:
    codec = CODECS["native"]()
    streams = {
        "frames": {"endpoint": "tcp://127.0.0.1:9999", "socket": "pull", "format": "native"},
        "positions": {"endpoint": "tcp://127.0.0.1:9998", "socket": "sub", "format": "native"},
    }
    with RecordingWriter(path, streams, {"program": "ptycholive 0.2.0", "started": "2026-11-30T12:00:00Z"}) as writer:
        writer.write("frames", 5, codec.encode_start(ScanStart("star", 4), (8, 8), np.dtype("uint16")))
        for index in range(4):
            writer.write("frames", 1_000_000 * index, codec.encode_frame("star", index, counts_of(index), None))
            writer.write("positions", 1_000_000 * index + 7, [b"", bytes([index])])
        writer.write("frames", 9_000_000, [])
        writer.end(10_000_000, {"faults": {"frames": {"refused": 0, "handshake_failures": 0}}})


def make_journal(folder: Path) -> None:
    codec = CODECS["native"]()
    for begin in (0, 3):  # two runs of the daemon: two segments
        journal = Journal(folder, 1 << 30)
        keeper = Keeper(journal, ScanNames(folder), 10.0)
        journal.start()
        if begin == 0:
            keeper.open(StoredStart("star", "2026-11-30T12:00:00Z", ScanStart("star", 6, {"sample": "x"}, GEOMETRY)))
        for index in range(begin, begin + 3):
            counts, where = counts_of(index), PositionM(index * 1e-6, -2e-6) if index % 2 else None
            encoding = ("bslz4", "")[index % 2]
            (encoded,) = codec.parse(codec.encode_frame("star", index, counts, where, encoding), 0)
            keeper.frame("star", Frame("star", index, counts, 0, where), pack(encoded.decode().counts, encoded))
            keeper.positions([Position("star", index, PositionM(index * 1e-6, 1e-7))], lambda _: "star")
        keeper.positions([Position("next", begin, PositionM(0.0, 1e-6))], lambda _: None)
        keeper.refused("star", CodecError("corrupt", "damaged", "star", 9))
        keeper.note("star", optics={"object_pixel_size_m": 1e-8, "photon_energy_eV": 8800.0})
        if begin:
            keeper.end("star", "end")
        assert keeper.flush(keeper.take())
        journal.stop()


if __name__ == "__main__":
    make_recording(FOLDER / "old.stream")
    make_journal(FOLDER / "old-journal")
