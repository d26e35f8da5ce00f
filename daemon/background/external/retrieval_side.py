"""The process that retrieves a probe: ``python -m daemon.background.external.retrieval_side IN.npz OUT.npz``.

It has one thread and a low priority, so it uses only processor time that the engine does not need.
"""

from __future__ import annotations

import json
import os
import sys

from daemon.background.external.parent import end_with_parent

if __name__ == "__main__":
    end_with_parent()  # first: what follows takes seconds

import numpy as np  # noqa: E402
import torch  # noqa: E402

from ptychopinn.refine.retrieve import retrieve  # noqa: E402

NICE = 10


def main(given: str, made: str) -> None:
    """Retrieve; the file given holds amplitude, positions_px, probe and the options of :func:`retrieve`."""
    os.nice(NICE)
    torch.set_num_threads(1)
    with np.load(given, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    options = json.loads(str(arrays["options"]))
    found = retrieve(
        torch.from_numpy(arrays["amplitude"]), arrays["positions_px"], torch.from_numpy(arrays["probe"]), **options
    )
    np.savez(made, probe=found.probe.numpy(), rfactors=np.array(found.rfactors))


if __name__ == "__main__":
    main(*sys.argv[1:])
