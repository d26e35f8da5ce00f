"""``demo``: a sender and a daemon in separate processes, with this process as viewer.

The sender streams the shipped scan over TCP as DECTRIS V2: frames compressed with bslz4, positions inside them. The daemon
is given the optics and the probe (made by ``ptycholive refine``, see demo_data/README.md), nothing about the sample. Its
model was trained only on simulated scans.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from daemon.cli.demo_faults import FAULTS, DemoOrders
from daemon.cli.demo_start import LOOK_S, invite, page_port, updates_port, wait_for_viewer
from daemon.cli.processes import first_line, free_port, verb_process
from daemon.cli.progress import progress
from daemon.client import Viewer
from daemon.errors import DaemonError, IncompleteScanError
from daemon.messages import Addresses, ScanEndedHeader, ScanState
from daemon.publish.http.demo import FOLDER_VARIABLE
from daemon.status.sentences import verdict_sentence
from streams.errors import EndpointError

DATA = Path(__file__).parents[1] / "demo_data"
SCAN, PROBE = DATA / "siemens-star.cxi", DATA / "siemens-star-probe.npz"
LOOP_S = 10.0
"""Time between two scans of a demo that loops, s: the finished picture can be looked at."""
SILENCE_S = 60.0
"""The demo fails after this time without an update, s; a slow machine loads torch for twenty."""

TEMPLATE = """\
[frames]
endpoint = "{frames}"
format = "dectris-v2"
{positions}[detector]
center_px = [64, 64]
size_px = 128
[optics]  # assumed: the data file does not state them
photon_energy_eV = 8800.0
detector_distance_m = 1.92
detector_pixel_size_m = 75e-6
probe_file = {probe}
[model]
bundle = "{bundle}"
[refine]
enabled = {refine}
[finetune]
enabled = {finetune}
[publish]
endpoint = "tcp://127.0.0.1:{updates}"
[http]
port = {port}
[output]
directory = {directory}
"""


POSITIONS = """\
[positions]
source = "native"
endpoint = "{}"
timeout_s = 20.0
"""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The verb's options."""

    headless: bool
    output: Path
    rate_hz: float
    port: int
    refine: bool
    finetune: bool
    fault: str
    wait_s: float = 0.0
    opens_browser: bool = False
    loops: bool = False


@dataclass(slots=True)
class Seen:
    """Times at which the viewer received the first picture and the end of the scan, wall clock, ns; the end message."""

    first_image_ns: int = 0
    ended_ns: int = 0
    model_generation: int = 0
    ended: ScanEndedHeader | None = None


@dataclass(frozen=True, slots=True)
class RunningDemo:
    """A running daemon: its process, its addresses, where to send frames and positions, the orders of its page."""

    process: subprocess.Popen[str]
    addresses: Addresses
    frames: str
    positions: str | None = None
    orders: DemoOrders | None = None


@contextmanager
def demo_daemon(
    folder: Path,
    bundle: str,
    *,
    refine: bool,
    finetune: bool,
    port: int = 0,
    updates_port: int = 0,
    orders: DemoOrders | None = None,
) -> Iterator[RunningDemo]:
    """Yield a daemon that is ready; its files are in ``folder``. With `orders`, positions come in a stream of their own."""
    config, frames, log = folder / "demo.toml", f"tcp://127.0.0.1:{free_port()}", folder / "daemon.log"
    positions = None if orders is None else f"tcp://127.0.0.1:{free_port()}"
    config.write_text(
        TEMPLATE.format(
            frames=frames,
            positions="" if positions is None else POSITIONS.format(positions),
            probe=json.dumps(str(PROBE)),
            bundle=bundle,
            refine=json.dumps(refine),
            finetune=json.dumps(finetune),
            port=port,
            updates=updates_port,
            directory=json.dumps(str(folder / "out")),
        )
    )
    environment = {} if orders is None else {FOLDER_VARIABLE: str(orders.folder)}
    with verb_process("serve", "--config", str(config), "--json", log=log, environment=environment) as process:
        yield RunningDemo(process, json.loads(first_line(process, log)), frames, positions, orders)


@contextmanager
def _daemon_of(options: DemoOptions, folder: Path) -> Iterator[RunningDemo]:
    """Yield the daemon of a demo; its updates are at the usual port if that is free."""
    usual = 0 if options.headless else updates_port()
    with ExitStack() as stack:

        def started(port: int) -> RunningDemo:
            made = demo_daemon(
                folder,
                "shipped",
                refine=options.refine,
                finetune=options.finetune,
                port=page_port(options.port),
                updates_port=port,
                orders=None if options.headless else DemoOrders(folder / "orders", SCAN),
            )
            return stack.enter_context(made)

        try:
            daemon = started(usual)
        except EndpointError as fault:
            if not usual or f":{usual}" not in str(fault):
                raise
            daemon = started(0)  # another program took the port meanwhile
        yield daemon


def run_demo(options: DemoOptions) -> None:
    """Run the demo. Headless, it prints one JSON object and exits; otherwise the page stays until Ctrl-C."""
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="ptycholive-demo-") as name,
        _daemon_of(options, Path(name)) as daemon,
    ):
        page = daemon.addresses["http"]
        typer.echo(
            f"Frames go to {daemon.frames}, updates come from {daemon.addresses['updates']} (ptycholive watch), "
            f"{page}/docs lists the REST routes. Watch it at {page}",
            err=True,
        )
        if not options.headless:
            invite(page, options.wait_s, opens_browser=options.opens_browser)
        summary = _watch_scan(options, daemon, Path(name))
        if options.headless:
            typer.echo(json.dumps(summary))
        else:
            typer.echo(
                f"{summary['frames_stitched']} of {summary['frames_sent']} frames stitched, R {summary['rfactor']:.4f}; "
                f"product: {options.output}. The page stays until you press Ctrl-C.",
                err=True,
            )
            _stay(options, daemon, Path(name))


def _watch_scan(options: DemoOptions, daemon: RunningDemo, folder: Path) -> dict[str, Any]:
    """Start the sender, follow the scan as a viewer, copy the product, return the summary."""
    with Viewer(daemon.addresses["updates"], SILENCE_S) as viewer, _sender(options, daemon, folder) as sender:
        seen = _follow(viewer)
        sent = json.loads(first_line(sender, folder / "sender.log"))
    ended = seen.ended
    if ended is None:
        raise DaemonError("the daemon stopped before the end of the scan")
    verdict, rfactors = ended["verdict"], ended["rfactors"]
    if ended["product"] is None:
        raise IncompleteScanError(f"the scan has no product: {verdict_sentence(verdict)}")
    shutil.copyfile(ended["product"], options.output)
    if ended["result"] != ScanState.COMPLETE and not options.fault:
        raise IncompleteScanError(f"the scan ended as {ended['result']}: {verdict_sentence(verdict)}")
    return {
        "frames_sent": sent["sent"],
        "frames_stitched": verdict["stitched"],
        "first_image_s": (seen.first_image_ns - sent["first_sent_ns"]) / 1e9,
        "finished_s": (seen.ended_ns - sent["last_sent_ns"]) / 1e9,
        "rfactor": rfactors.get("refined", rfactors.get("network")),
        "rfactor_network": rfactors.get("network"),
        "model_generation": seen.model_generation,
        "output": str(options.output),
        "verdict": verdict,
    }


def _follow(viewer: Viewer) -> Seen:
    seen = Seen()
    with progress(0, "reconstructing", "frames") as bar:
        for event in viewer.events():
            if event.picture is not None and event.header["frames_stitched"]:
                seen.first_image_ns = seen.first_image_ns or time.time_ns()
                seen.model_generation = event.header["model_generation"]
                bar.update(event.header["frames_stitched"] - bar.n)
            elif event.topic == "scan" and event.header["state"] == "started":
                bar.total = event.header["expected"]
            elif event.topic == "scan" and event.header["state"] == "ended":
                seen.ended_ns, seen.ended = time.time_ns(), event.header
                break
    return seen


def _sender(
    options: DemoOptions, daemon: RunningDemo, folder: Path, broken: str | None = None
) -> AbstractContextManager[subprocess.Popen[str]]:
    """Start a process that sends the scan, with a fault that was ordered."""
    data = SCAN if daemon.orders is None else daemon.orders.data_of(broken, options.output)
    fault = options.fault if broken is None else FAULTS[broken].faults
    command = [str(data), "--format", "dectris-v2", "--bind", daemon.frames, "--rate", str(options.rate_hz), "--json"]
    command += ["--fault", fault, "--scan-id", broken or "siemens-star"]
    command += [] if daemon.positions is None else ["--positions", daemon.positions]
    return verb_process("replay", *command, log=folder / "sender.log")


def _stay(options: DemoOptions, daemon: RunningDemo, folder: Path) -> None:
    """Keep the page until Ctrl-C; send a scan that was ordered, and in a loop the good one for those who watch."""
    due_s = time.monotonic() + LOOP_S
    try:
        while daemon.process.poll() is None:
            broken = None if daemon.orders is None else daemon.orders.take()
            is_due = options.loops and time.monotonic() >= due_s
            if broken is not None or (is_due and wait_for_viewer(daemon.addresses["http"], LOOK_S)):
                with _sender(options, daemon, folder, broken) as sender:
                    first_line(sender, folder / "sender.log")
                due_s = time.monotonic() + LOOP_S
            time.sleep(LOOK_S)
    except KeyboardInterrupt:
        typer.echo("stopping", err=True)
