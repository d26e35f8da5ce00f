"""``watch``: no line twice, a picture that fills the terminal, and an end that is not that of an earlier scan."""

from __future__ import annotations

import socket
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from daemon.cli.demo_start import page_port, updates_port
from daemon.cli.main import app
from daemon.cli.watch import Ending, _lines, cropped, half_blocks
from daemon.client import ScanEvent, StatusEvent
from daemon.status.sentences import account_sentence, situation
from streams.errors import EndpointError
from tests.support import messages


def scan_event(header: Any) -> ScanEvent:
    return ScanEvent("scan", header, None)


def test_a_line_that_says_nothing_new_is_left_out() -> None:
    status = StatusEvent("status", messages.status(phase="idle"), None)  # type: ignore[arg-type]
    started = scan_event(messages.started())
    assert [text for text, _ in _lines(iter([status, status, started, status]), as_json=False)] == [
        "All is well.", "", "scan scan-1 started", "",
    ]  # fmt: skip
    assert all(text for text, _ in _lines(iter([status, status]), as_json=True))


def test_the_end_of_an_earlier_scan_ends_no_watch() -> None:
    ending = Ending()
    events = [messages.ended("before"), messages.started("now"), messages.ended("now")]
    assert [ending.take(scan_event(header)) for header in events] == [False, False, True]
    joined_in_mid_scan = Ending()
    assert [joined_in_mid_scan.take(scan_event(header)) for header in events[1:]] == [False, True]


def test_the_picture_fills_the_terminal() -> None:
    colours = np.zeros((100, 100, 4), np.uint8)
    colours[40:60, 30:50] = 255
    lines = half_blocks(cropped(colours), 80, 20).splitlines()
    assert len(lines) == 20
    assert lines[0].count("▀") + lines[0].count(" ") == 40
    assert cropped(np.zeros((5, 5, 4), np.uint8)).size == 0


def test_mid_scan_frames_to_come_are_not_missing() -> None:
    verdict = messages.verdict(expected=516, received=213, duplicate=0, missing=303, stitched=213)
    status = messages.status(verdict=verdict, frames_overtaken=0)
    assert account_sentence(status) == "213 received = 213 stitched; 303 to come"
    lost = messages.status(verdict=verdict, frames_overtaken=4)
    assert account_sentence(lost) == "213 received = 213 stitched; 4 missing; 299 to come"


@pytest.mark.parametrize("phase", ["scanning", "idle"])
def test_a_sender_that_leaves_after_its_last_frame_is_no_trouble(phase: str) -> None:
    streams = [messages.stream(connected=False, fault="frames stream: the connection was lost", silent_s=20.0)]
    whole = messages.verdict(expected=516, received=516, missing=0, stitched=516, duplicate=0)
    state = "scanning" if phase == "scanning" else "complete"
    status = messages.status(phase=phase, scan_state=state, streams=streams, verdict=whole)
    assert "lost" not in situation(status)
    assert "no frame has arrived" not in situation(status)
    assert "lost" in situation(messages.status(streams=streams))


def test_help_is_grouped_and_the_shell_completes() -> None:
    text = CliRunner().invoke(app, ["--help"]).output
    heads = [line for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert heads == ["Options:", "Live:", "Streams:", "Files:", "Models:", "Configuration and measurement:"]
    assert "--install-completion" in text


def test_the_daemons_address_comes_from_the_environment() -> None:
    environment = {"PTYCHOLIVE_URL": "ftp://nowhere"}
    fault = CliRunner().invoke(app, ["status"], env=environment).exception
    assert '"ftp://nowhere" is not an HTTP address' in str(fault)


def test_a_busy_port_of_the_page_is_named_with_its_option() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(EndpointError, match=f"port {port} of the page is in use.*--port"):
            page_port(port)
    assert page_port(0) == 0
    assert updates_port() in (0, 5556)
