"""What a daemon says to systemd, from its start to its end."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from tests.support.daemon_process import serving
from tests.support.daemon_tools import PATIENCE_S

pytestmark = pytest.mark.system


def test_ready_alive_and_stopping_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with serving(tmp_path) as (process, _):
            assert systemd.recv(4096) == b"READY=1"
            while b"WATCHDOG=1" not in (said := systemd.recv(4096).split(b"\n")):
                pass
            assert said[0].startswith(b"STATUS=Waiting for a scan.")
            process.send_signal(signal.SIGTERM)
            while systemd.recv(4096) != b"STOPPING=1":
                pass
            assert process.wait(PATIENCE_S) == 0
