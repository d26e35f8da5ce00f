"""A live picture in a notebook: ``LiveView("tcp://host:5556")`` in the last line of a cell; needs ipywidgets."""

from __future__ import annotations

from typing import Any

import ipywidgets

from ptycholive_client.drawing import View
from ptycholive_client.follower import PERIOD_S, Follower, ShownLayer
from ptycholive_client.html import caption, view_png
from ptycholive_client.pictures import Picture


class LiveView(ipywidgets.VBox):  # type: ignore[misc]
    """Follows a daemon in the background until :meth:`stop`; the cell is free at once.

    Parameters
    ----------
    endpoint
        The daemon's ``[publish] endpoint``, or the address of its page.
    view
        ``phase``, ``amplitude`` or ``coverage``.
    layer
        ``best`` shows the refined layer as soon as there is one.
    period_s
        Shortest time between two pictures, s.
    """

    def __init__(
        self,
        endpoint: str = "tcp://127.0.0.1:5556",
        view: View = "phase",
        layer: ShownLayer = "best",
        *,
        token: str | None = None,
        period_s: float = PERIOD_S,
    ) -> None:
        self.picture: Picture | None = None
        self._view = view
        self._image = ipywidgets.Image(format="png", layout=ipywidgets.Layout(width="30em", max_width="100%"))
        self._words = ipywidgets.Label(f"waiting for a picture from {endpoint}")
        self._button = ipywidgets.Button(description="Stop")
        self._button.on_click(self._stop_clicked)
        super().__init__([self._image, ipywidgets.HBox([self._button, self._words])])
        self._follower = Follower(endpoint, layer, self._show, self._fail, token=token, period_s=period_s)

    @property
    def caption(self) -> str:
        """The words below the picture."""
        return str(self._words.value)

    @property
    def png(self) -> bytes:
        """The picture that is shown; empty before the first."""
        return bytes(self._image.value)

    def stop(self) -> None:
        """End the connection; the last picture stays."""
        self._follower.stop()
        self._button.disabled = True

    def _show(self, picture: Picture) -> None:
        self.picture = picture
        self._image.value = view_png(picture, self._view)
        self._words.value = caption(picture)

    def _fail(self, sentence: str) -> None:
        self._words.value = sentence
        self._button.disabled = True

    def _stop_clicked(self, _button: Any) -> None:
        self.stop()
