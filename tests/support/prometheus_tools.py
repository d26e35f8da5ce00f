"""A real Prometheus in a process of its own, and questions to it."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def running_prometheus(folder: Path, config: dict[str, Any]) -> Iterator[str]:
    """Yield the address of a Prometheus that is ready."""
    path = folder / "prometheus.yml"
    path.write_text(json.dumps(config))
    arguments = [f"--config.file={path}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    arguments += ["--web.listen-address=127.0.0.1:0", "--log.level=debug"]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(["prometheus", *arguments], stderr=subprocess.PIPE, text=True)
        try:
            address, ready = "", False
            for line in process.stderr:  # the two lines come in either order; the first names port 0
                log.write(line)
                if "address=127.0.0.1:" in line and "address=127.0.0.1:0" not in line:
                    address = "http://" + line.split("address=")[1].split()[0]
                ready = ready or "Server is ready to receive web requests" in line
                if address and ready:
                    break
            assert process.poll() is None, (folder / "prometheus.log").read_text()
            yield address
        finally:
            process.terminate()
            process.communicate()


def asked(address: str, path: str, **query: str) -> Any:
    """Return what Prometheus answers."""
    with urllib.request.urlopen(f"{address}/api/v1/{path}?{urllib.parse.urlencode(query)}") as answer:
        return json.loads(answer.read())["data"]
