"""Run by the environment that has Tiled: ``claim`` a name in a catalogue, or ``read`` a container back into an NPZ."""

from __future__ import annotations

import json
import sys

import numpy as np
from tiled.client import from_uri


def main() -> None:
    task, uri, key, *rest = sys.argv[1:]
    catalogue = from_uri(uri, api_key=key)
    if task == "claim":
        catalogue.create_container(key=rest[0])
        return
    container = catalogue[rest[0]]
    np.savez(rest[1], **{name: array.read() for name, array in container.items()})
    arrays = {name: dict(array.metadata) for name, array in container.items()}
    about = {
        "keys": list(catalogue),
        "metadata": dict(container.metadata),
        "arrays": arrays,
        "specs": str(container.specs),
    }
    sys.stdout.write(json.dumps(about, default=str))


if __name__ == "__main__":
    main()
