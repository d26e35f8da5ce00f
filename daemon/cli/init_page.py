"""``init --page``: the wizard in a browser, without a daemon."""

from __future__ import annotations

import sys
import threading
import webbrowser
from pathlib import Path

import typer

from daemon.attach.page_wizard import PageWizard
from daemon.publish.http.interface import HttpServer, create_wizard_app

HOST = "127.0.0.1"


def run_init_page(port: int) -> None:
    """Serve the wizard on this machine until Ctrl-C; it saves in the current folder."""
    server = HttpServer(create_wizard_app(PageWizard(Path.cwd)), HOST, port)
    server.start()
    address = f"{server.url}/page/setup.html"
    typer.echo(address)
    typer.echo("Open this page in a browser; Ctrl-C ends it.", err=True)
    if sys.stderr.isatty():
        webbrowser.open(address)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()
