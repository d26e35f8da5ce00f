"""A detector that stays: one scan for each line ``SCAN_ID RATE_HZ REPEAT`` of its standard input, 0 Hz as fast as taken."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from daemon.files import read_scan
from streams.codecs import CODECS
from streams.replay.sender import replay
from streams.sockets.transport import Sender


def main(scan_file: str, endpoint: str) -> None:
    scan = read_scan(Path(scan_file))
    with Sender(">" + endpoint) as sender:
        print("ready", flush=True)
        for line in sys.stdin:
            scan_id, rate_hz, repeat = line.split()
            counts, positions_m = np.tile(scan.counts, (int(repeat), 1, 1)), np.tile(scan.positions_m, (int(repeat), 1))
            rate = float(rate_hz) or None
            done = replay(counts, positions_m, CODECS["native"](), sender, scan_id=scan_id, rate_hz=rate)
            print(f"sent {scan_id} {done.sent}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
