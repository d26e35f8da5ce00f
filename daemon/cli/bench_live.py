"""What the benchmarks of the whole chain share: a daemon of the demo's kind, and a scan sent to it as fast as it is taken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.cli.demo import PROBE, SCAN, TEMPLATE
from daemon.cli.processes import first_line, free_port, verb_process
from daemon.client import Viewer

SILENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class LiveDaemon:
    """A running daemon: its addresses, as ``serve --json`` says them, and where frames are sent to."""

    addresses: dict[str, Any]
    frames: str
    folder: Path

    def send(self, scan_id: str, *options: str) -> tuple[int, float]:
        """Send the demo's scan; return how many frames were stitched, and s from the first sent to the last one's update."""
        log = self.folder / "sender.log"
        command = [str(SCAN), "--format", "dectris-v2", "--bind", self.frames, "--json", "--scan-id", scan_id, *options]
        stitched = shown_ns = 0
        with (
            Viewer(self.addresses["updates"], SILENCE_S) as viewer,
            verb_process("replay", *command, log=log) as sender,
        ):
            for topic, header, canvas in viewer.events():
                if header["scan_id"] != scan_id:
                    continue
                if canvas is not None and header["frames_stitched"] > stitched:
                    stitched, shown_ns = header["frames_stitched"], int(header["time_ns"])
                if topic == "scan" and header["state"] == "ended":
                    break
            sent = json.loads(first_line(sender, log))
        return stitched, (shown_ns - int(sent["first_sent_ns"])) / 1e9

    def rate(self, scan_id: str, repeat: int) -> float:
        """Frames a second, sent as fast as they are taken, the scan so many times on end."""
        stitched, seconds = self.send(scan_id, "--repeat", str(repeat))
        return stitched / seconds


@contextmanager
def live_daemon(folder: Path, bundle: str, *, refine: bool, finetune: bool) -> Iterator[LiveDaemon]:
    """Yield a daemon that is ready."""
    config, frames, log = folder / "bench.toml", f"tcp://127.0.0.1:{free_port()}", folder / "daemon.log"
    config.write_text(
        TEMPLATE.format(
            frames=frames,
            probe=json.dumps(str(PROBE)),
            bundle=bundle,
            refine=json.dumps(refine),
            finetune=json.dumps(finetune),
            port=0,
            directory=json.dumps(str(folder / "out")),
        )
    )
    with verb_process("serve", "--config", str(config), "--json", log=log) as daemon:
        yield LiveDaemon(json.loads(first_line(daemon, log)), frames, folder)
