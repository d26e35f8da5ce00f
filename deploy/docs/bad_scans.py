"""Twelve kinds of bad scan and a good one, sent to a real daemon; what its page says, and how soon after the cause.

    python -m deploy.docs.bad_scans FOLDER [KIND …]

writes ``FOLDER/KIND.png`` (the page at that moment) and prints the rows of the table in ``how-to/assessment.md``. It takes
some 20 s for each kind, and needs Debian's chromium, playwright and the packages of the tests.
"""

from __future__ import annotations

import errno
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import sync_playwright

from daemon.app import Daemon
from daemon.files.product import Product
from daemon.publish.hub import HubEvent
from daemon.results.disk import ResultDisk
from streams.codecs import CODECS
from streams.frame import PositionM, ScanStart
from streams.sockets.transport import Sender
from tests.support.daemon_tools import PROBE, real_scan, running_daemon
from tests.support.slow_device import SlowLift

RATE_HZ = 40.0
FRAMES = 516
HALF = 258
"""Frame at which something happens in mid-scan."""
PATIENCE_S = 60.0
SCAN = real_scan()
COMMON = (
    "diagnosis.enabled=true",
    "refine.enabled=true",
    'model.bundle="shipped"',
    "frames.scan_timeout_s=30",
    "publish.period_s=0.1",
)
NO_SENDER = ('positions.source="native"', 'positions.endpoint="@tcp://127.0.0.1:0"')

Change = Callable[[int, NDArray[Any], PositionM], Iterator[tuple[int, NDArray[Any], PositionM | None]]]


def unchanged(
    index: int, counts: NDArray[Any], where: PositionM
) -> Iterator[tuple[int, NDArray[Any], PositionM | None]]:
    yield index, counts, where


def without_position(index: int, counts: NDArray[Any], where: PositionM) -> Iterator[Any]:
    yield index, counts, None


def dark_after_half(index: int, counts: NDArray[Any], where: PositionM) -> Iterator[Any]:
    noise = np.random.default_rng(index).poisson(0.01, counts.shape).astype(counts.dtype)
    yield index, noise if index >= HALF else counts, where


def one_in_twenty_lost(index: int, counts: NDArray[Any], where: PositionM) -> Iterator[Any]:
    if index % 20 != 10:
        yield index, counts, where


def one_in_five_twice(index: int, counts: NDArray[Any], where: PositionM) -> Iterator[Any]:
    for _ in range(1 + (index % 5 == 0)):
        yield index, counts, where


def no_frames_after_half(index: int, counts: NDArray[Any], where: PositionM) -> Iterator[Any]:
    if index < HALF:
        yield index, counts, where


def still_after_half(index: int, counts: NDArray[Any], where: PositionM) -> Iterator[Any]:
    yield index, counts, PositionM(*map(float, SCAN.positions_m[min(index, HALF)]))


@dataclass
class Kind:
    """One kind of scan: how the daemon is set, how frames are changed, and from which frame on something is wrong."""

    name: str
    settings: tuple[str, ...] = ()
    change: Change = unchanged
    from_frame: int = 0
    probe: Callable[[NDArray[Any]], NDArray[Any]] | None = None
    is_cut_off: bool = False
    wanted: str = ""
    """Name of the reason to wait for; empty: the first one."""
    replaced: dict[str, Any] = field(default_factory=dict)


def of_another_beam(probe: NDArray[Any]) -> NDArray[Any]:
    """Return the probe of another beam, with as many photons: a round spot of 1.2 um that converges."""
    y, x = (np.mgrid[: probe.shape[-2], : probe.shape[-1]] - probe.shape[-1] // 2) * 2.8178e-08
    spot = np.exp(-(y**2 + x**2) / (0.6e-6) ** 2 - 1j * np.pi * (y**2 + x**2) / (1.4089e-10 * 4e-3))
    photons = (np.abs(probe) ** 2).sum()
    return (spot * np.sqrt(photons / (np.abs(spot) ** 2).sum())).astype(np.complex64)[None]


def full_disk(path: Path, product: Product) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


def slow_device() -> SlowLift:
    lift = SlowLift()
    lift.before = lambda group: time.sleep(0.06 * len(group["center_scan_id"]))
    return lift


KINDS = (
    Kind("good"),
    Kind("no-positions", NO_SENDER, without_position),
    Kind("wrong-probe", probe=of_another_beam, wanted="misfit"),
    Kind("transposed", ('detector.orientation="transpose"',), wanted="misfit"),
    Kind("conjugate", probe=np.conj, wanted="misfit"),
    Kind("energy-off", ("optics.photon_energy_eV=8150.0",), probe=lambda probe: probe, wanted="misfit"),
    Kind("beam-lost", change=dark_after_half, from_frame=HALF),
    Kind("5-percent-lost", change=one_in_twenty_lost, from_frame=10),
    Kind("duplicates", change=one_in_five_twice),
    Kind("detector-dies", change=no_frames_after_half, from_frame=HALF, is_cut_off=True),
    Kind("stage-stalls", change=still_after_half, from_frame=HALF),
    Kind("disk-full", ("output.checkpoint_s=2.0",), replaced={"disk": ResultDisk(write_product=full_disk)}),
    Kind("device-behind", replaced={"wrap_models": slow_device()}),
)


class Grades:
    """Hears each status, and when the grade first became worse than good."""

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted
        self.seen: list[tuple[float, str, dict[str, Any]]] = []
        self.is_bad, self.has_ended = threading.Event(), threading.Event()

    def take(self, event: HubEvent) -> None:
        if event.status is not None and event.status["scan_id"] == "scan":
            assessment = event.status["assessment"]
            self.seen.append((time.monotonic(), assessment["grade"], dict(assessment)))
            if assessment["code"] == self._wanted or (not self._wanted and assessment["grade"] != "good"):
                self.is_bad.set()
        if event.scan is not None and event.scan["state"] == "ended":
            self.has_ended.set()
            self.seen.append((time.monotonic(), event.scan["assessment"]["grade"], dict(event.scan["assessment"])))


def send(daemon: Daemon, kind: Kind, stopping: threading.Event) -> float:
    """Send a scan at its rate; return the time of the cause."""
    codec, cause = CODECS["native"](), 0.0
    with Sender(">" + daemon.addresses()["streams"]["frames"]) as sender:
        sender.send(codec.encode_start(ScanStart("scan", FRAMES), SCAN.counts.shape[1:], SCAN.counts.dtype))
        begun = time.monotonic()
        for index in range(FRAMES):
            if index == kind.from_frame:
                cause = time.monotonic()
            for at, counts, where in kind.change(
                index, np.asarray(SCAN.counts[index]), PositionM(*map(float, SCAN.positions_m[index]))
            ):
                sender.send(codec.encode_frame("scan", at, counts, where))
            if kind.is_cut_off and index == kind.from_frame:
                return cause
            if stopping.wait(max(0.0, begun + index / RATE_HZ - time.monotonic())):
                return cause
        sender.send(codec.encode_end("scan"))
    return cause


@contextmanager
def daemon_of(kind: Kind, folder: Path) -> Iterator[Daemon]:
    settings = [*COMMON, *kind.settings]
    if kind.probe is not None:
        with np.load(PROBE) as file:
            np.savez(folder / "probe.npz", probe=kind.probe(file["probe"]))
        settings.append(f"optics.probe_file={json.dumps(str(folder / 'probe.npz'))}")
    with running_daemon(folder, *settings, **kind.replaced) as daemon:
        yield daemon


def show(kind: Kind, browser: Any, folder: Path) -> None:
    """Run one scan, keep the page at the moment of the first grade other than good, and print its row."""
    with tempfile.TemporaryDirectory() as name, daemon_of(kind, Path(name)) as daemon:
        grades, stopping, times = Grades(kind.wanted), threading.Event(), list[float]()
        daemon.hub.subscribe(grades.take)
        page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="dark")
        page.goto(daemon.addresses()["http"])
        sending = threading.Thread(target=lambda: times.append(send(daemon, kind, stopping)))
        sending.start()
        wanted = grades.has_ended if kind.name == "good" else grades.is_bad
        wanted.wait(PATIENCE_S)
        page.wait_for_timeout(1200)
        page.screenshot(path=folder / f"{kind.name}.png")
        if kind.name != "good":
            sending.join()
            grades.has_ended.wait(PATIENCE_S)
            page.wait_for_timeout(1500)
            page.screenshot(path=folder / f"{kind.name}-end.png")
        stopping.set()
        sending.join()
        page.close()
        worse = [(at - times[0], words) for at, grade, words in grades.seen if grade != "good"]
        told = [
            f"{after:.1f} s: {one['grade'].upper()} {one['reason']}. {one['action']}." for after, one in steps(worse)
        ]
        print(
            f"| {kind.name} | {' <br> '.join(told) or 'never anything but GOOD'} | {grades.seen[-1][1].upper()} |",
            flush=True,
        )


def steps(worse: list[tuple[float, dict[str, Any]]]) -> Iterator[tuple[float, dict[str, Any]]]:
    """Yield the first assessment of each reason."""
    codes: set[str] = set()
    for after, one in worse:
        if one["code"] not in codes:
            codes.add(one["code"])
            yield after, one


def main() -> None:
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for kind in KINDS:
            if not names or kind.name in names:
                show(kind, browser, folder)
        browser.close()


if __name__ == "__main__":
    main()
