"""Words to systemd go to the socket that it names, and nowhere else."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from daemon.service.systemd import Systemd


def test_words_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "30000000")
        said = Systemd()
        assert said.watchdog_s == 30
        said.notify("READY=1", "STATUS=Waiting for a scan.")
        assert systemd.recv(4096) == b"READY=1\nSTATUS=Waiting for a scan."


def test_an_abstract_socket_is_found(monkeypatch: pytest.MonkeyPatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        name = f"ptycholive-test-{os.getpid()}"
        systemd.bind("\0" + name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        Systemd().notify("READY=1")
        assert systemd.recv(64) == b"READY=1"


def test_without_systemd_words_go_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Systemd().notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    Systemd().notify("READY=1")
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert Systemd().watchdog_s == 0
