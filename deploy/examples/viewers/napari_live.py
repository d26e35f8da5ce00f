"""The growing picture in napari: ``python napari_live.py tcp://127.0.0.1:5556`` (needs ``pip install napari[all]``).

Phase and amplitude are two layers, in micrometres; they grow and move with the mosaic. A thread follows the daemon, so
that the window stays quick.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from daemon.client import Viewer
from daemon.publish.snapshot import LayerCanvas


def pictures(canvas: LayerCanvas) -> dict[str, dict[str, Any]]:
    """Return what napari's image layers take, by name: data (H, W) float32, scale and translate in micrometres."""
    pixel_um = 1e6 * (canvas.pixel_size_m or 1e-6)
    place = {"scale": (pixel_um, pixel_um), "translate": tuple(pixel_um * side for side in canvas.origin_px)}
    mean = complex(np.vdot(canvas.weight, canvas.object))
    phase = np.angle(canvas.object * np.exp(-1j * np.angle(mean)))
    seen = canvas.weight > 0
    return {
        "phase": {"data": np.where(seen, phase, np.nan).astype(np.float32), "colormap": "twilight", **place},
        "amplitude": {"data": np.where(seen, np.abs(canvas.object), np.nan).astype(np.float32), **place},
    }


def show(viewer: Any, canvas: LayerCanvas) -> None:
    """Put a picture into a napari viewer, in place of the one before."""
    for name, options in pictures(canvas).items():
        if name in viewer.layers:
            layer = viewer.layers[name]
            layer.data, layer.translate = options["data"], options["translate"]
        else:
            viewer.add_image(name=name, **options)
    viewer.text_overlay.text = f"{canvas.scan_id} · {canvas.layer} · {canvas.frames_stitched} frames"


def main() -> None:
    """Open the window and follow the daemon until it is closed."""
    import napari
    from napari.qt.threading import thread_worker

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("endpoint", nargs="?", default="tcp://127.0.0.1:5556", help="the daemon's [publish] endpoint")
    parser.add_argument("--layer", choices=("refined", "network"), default="refined")
    options = parser.parse_args()
    window = napari.Viewer(title="PtychoLive")
    window.text_overlay.visible = True

    @thread_worker(connect={"yielded": lambda canvas: show(window, canvas)})  # type: ignore[untyped-decorator]
    def follow() -> Any:
        with Viewer(options.endpoint, timeout_s=None) as viewer:
            yield from viewer.snapshots(options.layer)

    follow()
    napari.run()


if __name__ == "__main__":
    main()
