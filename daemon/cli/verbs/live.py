"""Declares the verbs that run or ask a daemon: demo, serve, check, watch, scans, status, stop."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from daemon.cli.verbs.options import (
    DEFAULT_UPDATES,
    DEFAULT_URL,
    AsJson,
    ConfigPath,
    CurvePublic,
    CurveSecret,
    CurveServer,
    Settings,
    Token,
    Url,
)


def demo(
    headless: Annotated[
        bool, typer.Option("--headless", help="Run without a page; print one JSON object and exit after the scan.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Product file to write.")] = Path("demo.h5"),
    rate: Annotated[float, typer.Option(min=0.1, help="Frames per second.")] = 40.0,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 selects a free port.")] = 8080,
    no_finetune: Annotated[bool, typer.Option("--no-finetune", help="Do not fine-tune the model.")] = False,
    no_refine: Annotated[bool, typer.Option("--no-refine", help="Do not compute the refined layer.")] = False,
    fault: Annotated[str, typer.Option(help="Simulate faults of the stream; see --fault of replay.")] = "",
    wait: Annotated[float, typer.Option(min=0, help="Longest time to wait for the first viewer, s.")] = 10.0,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser, if one is installed.")] = True,
    loop: Annotated[
        bool | None, typer.Option(help="Send the scan again and again. Default: in a terminal only.")
    ] = None,
) -> None:
    """Reconstruct the shipped scan of a Siemens star live.

    A simulated detector streams it over TCP; the picture grows in the browser. The scan starts when somebody watches.
    """
    from daemon.cli.demo import DemoOptions, run_demo

    run_demo(
        DemoOptions(
            headless=headless,
            output=output,
            rate_hz=rate,
            port=port,
            refine=not no_refine,
            finetune=not no_finetune,
            fault=fault,
            wait_s=wait,
            opens_browser=browser and sys.stderr.isatty(),
            loops=sys.stderr.isatty() if loop is None else loop,
        )
    )


def serve(config: ConfigPath, settings: Settings = None, as_json: AsJson = False) -> None:
    """Run the daemon until SIGTERM or Ctrl-C.

    With --json, it prints its addresses in one line when it is ready.
    """
    from daemon.config import load_config

    loaded = load_config(config, settings or [], os.environ)
    from daemon.cli.serve import run_daemon  # after it: a wrong configuration is refused before torch is loaded

    run_daemon(loaded, as_json)


def check(
    config: ConfigPath,
    settings: Settings = None,
    wait: Annotated[float, typer.Option(min=0, help="Time to listen at each endpoint, s.")] = 3.0,
    as_json: AsJson = False,
) -> None:
    """Test the setup before beam time.

    Prints OK, WARN, SILENT or ERROR for configuration, probe, output and each endpoint.
    """
    from daemon.config import load_config

    loaded = load_config(config, settings or [], os.environ)
    from daemon.cli.check import run_check

    run_check(loaded, wait, as_json)


def watch(
    endpoint: Annotated[
        str,
        typer.Argument(
            envvar="PTYCHOLIVE_UPDATES",
            help="Address of the updates: [publish] endpoint of the daemon, or http://HOST:PORT of its page.",
        ),
    ] = DEFAULT_UPDATES,
    save: Annotated[
        Path | None, typer.Option(help="Directory for the layers of each finished scan, as NPY files.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Exit after this time without a message, s.")] = 30.0,
    once: Annotated[
        bool, typer.Option("--once", help="Exit at the end of the first scan that ends from now on.")
    ] = False,
    picture: Annotated[
        Literal["phase", "amplitude", "coverage"] | None,
        typer.Option(help="Draw this picture in the terminal, which must support 24-bit colours."),
    ] = None,
    layer: Annotated[Literal["refined", "network"], typer.Option(help="Layer for --picture.")] = "refined",
    curve_public: CurvePublic = None,
    curve_secret: CurveSecret = None,
    curve_server: CurveServer = None,
    token_file: Token = None,
    as_json: AsJson = False,
) -> None:
    """Follow the updates of a daemon.

    Prints one line for each update, or draws the picture in the terminal.
    """
    from daemon.cli.watch import WatchOptions, run_watch
    from streams.sockets.keys import KeyFiles

    keys = KeyFiles(curve_public, curve_secret, curve_server)
    options = WatchOptions(
        save=save,
        timeout_s=timeout,
        once=once,
        keys=keys,
        token_file=token_file,
        as_json=as_json,
        picture=picture,
        layer=layer,
    )
    run_watch(endpoint, options)


def scans(
    url: Url = DEFAULT_URL,
    token_file: Token = None,
    journal: Annotated[
        Path | None, typer.Option(help="List the scans in this folder of a journal instead; no daemon is needed.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the scans of a running daemon or of a journal."""
    if journal is not None:
        from daemon.cli.scans import show_journal

        show_journal(journal, as_json)
        return
    from daemon.cli.remote import show_scans

    show_scans(url, token_file, as_json)


def status(url: Url = DEFAULT_URL, token_file: Token = None, as_json: AsJson = False) -> None:
    """Show the state of a running daemon."""
    from daemon.cli.remote import show_status

    show_status(url, token_file, as_json)


def stop(
    scan: Annotated[str, typer.Argument(help="Id of the scan; latest: the scan that started last.")] = "latest",
    url: Url = DEFAULT_URL,
    token_file: Token = None,
) -> None:
    """Finish a scan of a running daemon now.

    Its product is written from the frames received so far.
    """
    from daemon.cli.remote import stop_scan

    stop_scan(scan, url, token_file)
