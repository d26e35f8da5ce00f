"""Runs in an environment that has the light client alone: follows a daemon over ZeroMQ, HTTP and in a notebook's widget."""

import json
import sys
import threading

from ptycholive_client import Picture, Viewer
from ptycholive_client.jupyter import LiveView

updates, page, scan, patience_s = *sys.argv[1:4], float(sys.argv[4])


def last_picture(endpoint: str) -> Picture:
    """Return the complete network layer of the scan."""
    with Viewer(endpoint, patience_s) as viewer:
        return next(picture for picture in viewer.snapshots("network", scan) if picture.complete)


seen = [last_picture(updates), last_picture(page)]
arrived = threading.Event()
view = LiveView(page, layer="network")
view._words.observe(lambda _change: view.picture is not None and arrived.set(), "value")
if view.picture is None and not arrived.wait(patience_s):
    sys.exit(f"no picture came: {view.caption}")
view.stop()
heavy = [name for name in ("torch", "scipy", "PIL", "h5py", "pydantic", "daemon", "streams") if name in sys.modules]
found = {
    "heavy": heavy,
    "frames": [picture.frames_stitched for picture in seen],
    "sum": [float(abs(picture.object).sum()) for picture in seen],
    "html": seen[0]._repr_html_().count("<img"),
    "caption": view.caption,
    "is_png": view.png[:4] == b"\x89PNG",
}
print(json.dumps(found))
