"""The dock widget of the napari plug-in; needs Qt, which napari brings."""

from __future__ import annotations

import os
from typing import Any, cast

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QLabel, QLineEdit, QPushButton, QWidget

from ptycholive_client.errors import StreamError
from ptycholive_client.follower import Follower, ShownLayer
from ptycholive_client.napari import show
from ptycholive_client.pictures import Picture

ENDPOINT = "tcp://127.0.0.1:5556"
"""Where ``ptycholive demo`` and a daemon with the default configuration publish."""


class FollowWidget(QWidget):  # type: ignore[misc]
    """Address, token, layer, and a button that starts and stops following."""

    arrived = Signal(object)
    failed = Signal(str)

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self._viewer = viewer
        self._follower: Follower | None = None
        self.address = QLineEdit(os.environ.get("PTYCHOLIVE_UPDATES", ENDPOINT))
        self.token = QLineEdit()
        self.token.setEchoMode(QLineEdit.EchoMode.Password)
        self.token.setPlaceholderText("only for http://")
        self.layer = QComboBox()
        self.layer.addItems(["best", "network", "refined"])
        self.button = QPushButton("Follow")
        self.words = QLabel()
        self.words.setWordWrap(True)
        form = QFormLayout(self)
        for name, part in (("Address", self.address), ("Token", self.token), ("Layer", self.layer)):
            form.addRow(name, part)
        form.addRow(self.button)
        form.addRow(self.words)
        self.button.clicked.connect(self.toggle)
        self.arrived.connect(self._show)
        self.failed.connect(self._fail)

    def toggle(self) -> None:
        """Start, or stop."""
        if self._follower is not None:
            self.stop()
            return
        layer = cast(ShownLayer, self.layer.currentText())
        try:
            self._follower = Follower(
                self.address.text().strip(),
                layer,
                self.arrived.emit,
                self.failed.emit,
                token=self.token.text() or None,
            )
        except StreamError as fault:
            self._fail(str(fault))
            return
        self.button.setText("Stop")
        self.words.setText("waiting for a picture")

    def stop(self) -> None:
        """Stop following; the layers stay."""
        if self._follower is not None:
            self._follower.stop()
            self._follower = None
        self.button.setText("Follow")

    def closeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Stop before the widget closes."""
        self.stop()
        super().closeEvent(event)

    def _show(self, picture: Picture) -> None:
        self.words.setText(f"scan {picture.scan_id}, {picture.frames_stitched} frames")
        show(self._viewer, picture)

    def _fail(self, sentence: str) -> None:
        self.stop()
        self.words.setText(sentence)
