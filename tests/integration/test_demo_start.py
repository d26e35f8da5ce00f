"""Before the first frame: the demo waits for a viewer, and a daemon that starts does not call its parts dead."""

from __future__ import annotations

from pathlib import Path

from daemon.app import Daemon
from daemon.cli.demo_start import wait_for_viewer
from daemon.client import Viewer
from daemon.config import load_config
from tests.support.daemon_tools import PATIENCE_S, running_daemon, write_config


def test_the_demo_waits_for_the_first_viewer(tmp_path: Path) -> None:
    with running_daemon(tmp_path) as daemon:
        page = daemon.addresses()["http"]
        assert not wait_for_viewer(page, 0.1)
        with Viewer(daemon.addresses()["updates"], PATIENCE_S):
            assert wait_for_viewer(page, PATIENCE_S)
    assert not wait_for_viewer(page, PATIENCE_S)  # the daemon has ended, so nobody will come


def test_no_part_of_a_daemon_that_starts_is_dead(tmp_path: Path) -> None:
    daemon = Daemon(load_config(write_config(tmp_path)))
    try:
        found = daemon.view.readiness()
        assert (found["ready"], found["dead"], found["degraded"]) == (False, [], [])
        assert daemon.view.status()["assessment"]["code"] == "starting"
    finally:
        daemon.start()
        daemon.stop()
